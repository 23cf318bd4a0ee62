//! The first half of a node's start: control groups of its own, then namespaces. What it starts then is the node's
//! process 1; when this process ends, so does the node.

use std::convert::Infallible;
use std::env;
use std::path::Path;
use std::process::{Command, exit};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use super::read;
use crate::lab::cgroup;

/// Starts the node of a plan in the network namespace that this process is in. Never returns while the node lives.
///
/// # Errors
/// Says which step the kernel refuses.
pub fn boot(plan: &Path) -> Result<Infallible> {
    let node = read(plan)?;
    cgroup::join(&node.lab, &node.cgroup)?;
    let mut own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    own |= CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP;
    unshare(own).context("new namespaces")?;
    let mut init =
        Command::new(env::current_exe()?).arg("node-init").arg(plan).spawn().context("process 1")?;
    let status = init.wait()?;
    eprintln!("{} ended: {status}", node.name);
    exit(1)
}
