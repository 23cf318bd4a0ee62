//! `cargo xtask build-ebpf`: the kernel program by itself. `lb-agent/build.rs` does the same on its own.

use std::{fs, process::ExitCode, time::Instant};

use anyhow::Result;

use crate::{ebpf, workspace};

pub(crate) fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let root = workspace::root()?;
    let object = ebpf::build(&root)?;
    let size = fs::metadata(&object)?.len();
    let shown = object.strip_prefix(&root).unwrap_or(&object).display();
    println!("{shown}: {size} bytes in {:.1} s", start.elapsed().as_secs_f32());
    Ok(ExitCode::SUCCESS)
}
