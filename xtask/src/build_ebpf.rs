//! `cargo xtask build-ebpf`: the kernel program by itself. `lb-agent/build.rs` does the same on its own.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;

use crate::{
    ebpf::{self, Profile},
    workspace,
};

/// The same program in other instructions.
const OTHER: Profile = Profile { name: "bpf-other", object: "edgelb.other.bpf.o" };

pub(crate) fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let root = workspace::root()?;
    let object = ebpf::build(&root)?;
    let size = fs::metadata(&object)?.len();
    let shown = object.strip_prefix(&root).unwrap_or(&object).display();
    println!("{shown}: {size} bytes in {:.1} s", start.elapsed().as_secs_f32());
    Ok(ExitCode::SUCCESS)
}

/// What labs update agents to when it is to be another program.
pub(crate) fn other() -> Result<PathBuf> {
    Ok(ebpf::build_as(&workspace::root()?, OTHER)?)
}
