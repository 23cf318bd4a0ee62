//! Profile-guided optimisation: an agent that counts what it runs serves the clients of `lb-bench l7`, and what is
//! shipped is compiled by its counts. They are of functions as they are compiled for one target, so that only this
//! machine's own architecture has them.

use std::{
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};

use super::binary::BUILD;
use crate::{
    lab_program::{LAB, LabProgram},
    sha256, workspace,
};

/// What the agent does meanwhile: a little of everything that a proxy does, and nothing that only waits.
const SCENARIOS: &str =
    "h1 tls h2 grpc body-64k body-1m upload-1m handshake resumed connect hosts paths websocket";

/// Seconds of each: counts are millions after one.
const TURN: &str = "1";

/// Compiles by `cargo` twice, and learns in between, unless it has learned from the very same agent.
pub(super) fn build(cargo: impl Fn(&str) -> Result<Command>, target: &str, program: &Path) -> Result<()> {
    let folder = workspace::target_dir()?.join("pgo").join(target);
    let raw = folder.join("raw");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    eprintln!("edgelb: compiling an agent that counts what it runs");
    // Its functions are the same, and on several cores it is optimised sooner. It runs here only, and zig's linker does
    // not know how rustc asks for the runtime that counts (`-u __llvm_profile_runtime`).
    let mut counting = cargo("rustc")?;
    counting.args(["--", "-Clto=thin", "-Clinker=cc"]).env("RUSTFLAGS", flags("generate", &raw)?);
    workspace::succeed(&mut counting)?;
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    // Cargo does not look into the file: it has another name if it may have other counts.
    let counts = folder.join(format!("{}.profdata", &sha256::of(&bytes)[..16]));
    if !counts.is_file() {
        remove(&raw)?;
        let counting = folder.join("lb-agent");
        fs::copy(program, &counting).with_context(|| format!("cannot copy {}", program.display()))?;
        learn(&counting, &folder)?;
        merge(&raw, &counts)?;
    }
    eprintln!("edgelb: compiling the agent by what was counted");
    workspace::succeed(cargo(BUILD)?.env("RUSTFLAGS", flags("use", &counts)?))
}

/// Counts of another agent.
fn remove(raw: &Path) -> Result<()> {
    match fs::remove_dir_all(raw) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", raw.display()))
        }
        _ => Ok(()),
    }
}

/// Beside those of the user.
fn flags(what: &str, path: &Path) -> Result<String> {
    let path = path.to_str().filter(|path| !path.contains(char::is_whitespace));
    let path = path.context("rustc's flags cannot name a workspace with spaces in its path: --no-pgo")?;
    let own = env::var("RUSTFLAGS").unwrap_or_default();
    Ok(format!("{own} -Cprofile-{what}={path}"))
}

/// The counting agent under load.
fn learn(agent: &Path, folder: &Path) -> Result<()> {
    let bench = LabProgram { name: "lb-bench", profile: LAB, helpers: &["lb-lab"], needs_agent: false };
    bench.build()?;
    let start = Instant::now();
    eprintln!("edgelb: counting, under load");
    let mut load = Command::new(bench.path()?);
    load.current_dir(workspace::root()?).env("LB_AGENT", agent).stdin(Stdio::null()).stdout(Stdio::null());
    load.args(["--target"]).arg(folder).args(["l7", "--peers", "edgelb", "--rounds", "1", "--turn", TURN]);
    workspace::succeed(load.args(SCENARIOS.split_whitespace()))?;
    eprintln!("edgelb: counted for {} s", start.elapsed().as_secs());
    Ok(())
}

/// One file of all counts, which is there only if it is whole.
fn merge(raw: &Path, counts: &Path) -> Result<()> {
    let partial = counts.with_extension("partial");
    workspace::succeed(Command::new(llvm_profdata()?).args(["merge", "--output"]).arg(&partial).arg(raw))?;
    fs::rename(&partial, counts).with_context(|| format!("cannot write {}", counts.display()))
}

/// That of the compiler, whose counts no other version needs to understand: there already, or got by rustup.
fn llvm_profdata() -> Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let libraries = String::from_utf8(output.context("rustc does not start")?.stdout)?;
    let program = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
    if !program.is_file() {
        eprintln!("edgelb: getting LLVM's tools");
        workspace::succeed(Command::new("rustup").args(["component", "add", "llvm-tools"])).context(
            "LLVM's tools are missing; this would help: rustup component add llvm-tools, or --no-pgo",
        )?;
    }
    Ok(program)
}
