//! The tier `lint`: checks that need no test runner. Each counts as one test.

use std::process::Command;

use anyhow::Result;

use super::tally::Tally;
use crate::{ebpf, tidy, workspace};

/// All checks run, whatever the earlier ones found.
pub(super) fn run() -> Result<Tally> {
    let checks = [
        ("format", cargo(&["fmt", "--all", "--check"])?),
        ("clippy", cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?),
        ("clippy of the kernel program", kernel_clippy()?),
        ("documentation", documentation()?),
        ("dependencies", dependencies()?),
    ];
    let mut tally = verdict("tidy", tidy::check());
    for (name, mut command) in checks {
        tally += verdict(name, workspace::succeed(&mut command));
    }
    Ok(tally)
}

fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut cargo = workspace::cargo()?;
    cargo.args(arguments);
    Ok(cargo)
}

/// The workspace's clippy leaves it out: it compiles for no other target than its own.
fn kernel_clippy() -> Result<Command> {
    let mut cargo = ebpf::kernel_cargo(&workspace::root()?, "clippy", ebpf::SHIPPED)?;
    cargo.args(["--quiet", "--", "-D", "warnings"]);
    Ok(cargo)
}

fn documentation() -> Result<Command> {
    let mut cargo = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])?;
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    Ok(cargo)
}

/// Licences, bans and sources. Advisories need the RustSec database from the network, and change without
/// any change of ours: `cargo deny check advisories` is for people, not for this tier.
fn dependencies() -> Result<Command> {
    let mut deny = Command::new(ebpf::installed("cargo-deny", &ebpf::Toolchain::active()?)?);
    deny.current_dir(workspace::root()?);
    deny.args(["--workspace", "--all-features", "--locked", "check", "bans", "licenses", "sources"]);
    Ok(deny)
}

fn verdict(name: &str, result: Result<()>) -> Tally {
    match &result {
        Ok(()) => println!("{name} ... ok"),
        Err(error) => println!("{name} ... FAILED: {error:#}"),
    }
    Tally::of(result.is_ok())
}
