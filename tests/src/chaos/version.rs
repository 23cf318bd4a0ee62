//! The next agent of a node is of another version than the one before, and takes over while the router rehashes.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use aya::programs::loaded_programs;
use nix::sys::signal::Signal;

use super::events::USED;
use super::scene::Scene;
use super::stage::{Mode, Stage, pass};
use crate::lab::netlink::{End, xdp_programs};
use crate::lab::{Node, Process, target};

/// What an agent is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// As all are at first.
    Shipped,
    /// With another program for packets.
    OtherProgram,
    /// And that program's maps are laid out otherwise.
    OtherLayout,
}

impl Version {
    fn is_shipped(self) -> bool {
        self == Self::Shipped
    }

    fn arguments(self) -> Result<Vec<String>> {
        let program = || Ok::<_, anyhow::Error>(format!("--other-program={}", other_program()?.display()));
        Ok(match self {
            Self::Shipped => Vec::new(),
            Self::OtherProgram => vec![program()?],
            Self::OtherLayout => vec![program()?, "--other-layout".to_owned()],
        })
    }
}

fn other_program() -> Result<PathBuf> {
    let object = target()?.join("bpf/edgelb.other.bpf.o");
    ensure!(object.is_file(), "no {}: `cargo xtask chaos` makes it", object.display());
    Ok(object)
}

impl Stage {
    /// Starts the next agent on a node, while flows come in at other first hops from now on; waits until it has taken over,
    /// and tells the one before to finish. Without edgelb, flows come in elsewhere, and that is all.
    ///
    /// # Errors
    /// If it does not become ready, or has not the program that its version has.
    pub fn renew_agent(&mut self, node: usize, version: Version) -> Result<String> {
        if self.mode == Mode::RandomEcmp {
            self.rehash()?;
            pass(USED);
            return Ok(String::new());
        }
        let former = tag(&self.lab.edges[node])?;
        let before = self.start_agent_of(node, version)?;
        let was = self.versions.insert(node, version).unwrap_or(Version::Shipped);
        self.rehash()?;
        let node = &mut self.lab.edges[node];
        node.await_ready()?;
        before.signal(Signal::SIGTERM)?;
        self.former.push(before);
        let next = tag(node)?;
        let is_other = was.is_shipped() != version.is_shipped();
        ensure!((former != next) == is_other, "{}: program {next:016x} after {former:016x}", node.name);
        Ok(format!("{}: program {former:016x}, then {next:016x}", node.name))
    }

    /// Starts the next agent on a node, without waiting for anything.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_agent_of(&mut self, node: usize, version: Version) -> Result<Process> {
        let arguments = version.arguments()?;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.lab.edges[node].start_next_agent(&arguments)
    }
}

/// The tag of the program that has a node's packets: what its instructions are.
fn tag(node: &Node) -> Result<u64> {
    let ids = xdp_programs(End { namespace: &node.namespace, interface: node.interface })?;
    let [id] = ids[..] else { bail!("{} has the programs {ids:?}", node.name) };
    let mut programs = loaded_programs().filter_map(Result::ok);
    let found = programs.find(|program| program.id() == id);
    Ok(found.with_context(|| format!("there is no program {id}"))?.tag())
}
