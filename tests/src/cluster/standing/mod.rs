//! A cluster that stands for a person: a process of its own holds it, and does what it is asked over a socket.

mod demo;
mod hold;
mod request;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

use self::request::{Facts, Request, ask, facts};
use super::node::enter;
use super::programs::program;
use crate::lab;

pub use self::hold::hold;
pub use self::up::up;

/// What `up` is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How many nodes: 1 to 7.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub nodes: u8,
    /// An image archive (OCI) that every node gets before it starts; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// A manifest, or a folder with a kustomization, to apply once the nodes are ready; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub apply: Vec<PathBuf>,
    /// Make all nodes edge nodes, apply this kustomization of edgelb with an app, and wait until its VIP answers.
    #[arg(long, value_name = "DIR")]
    pub demo: Option<PathBuf>,
}

/// What a person does with it.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Task {
    /// Run kubectl as admin.
    Kubectl {
        /// As for kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run a command on node-1 and so on, on the router, or where clients are (`client`).
    Exec {
        /// Where.
        place: String,
        /// The command with its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Cut a node's power: first its link, then all that runs on it.
    Cut {
        /// `node-2`
        node: String,
    },
    /// Switch a node on again: a fresh machine under the old name.
    Start {
        /// `node-2`
        node: String,
    },
    /// Add one more node.
    Add,
    /// Say what there is, and how to use it.
    Info,
    /// Take it down, with everything in it.
    Down,
}

/// Does it with the cluster that stands: how the command ended, where there is one.
///
/// # Errors
/// If none stands, or it refuses.
pub fn run(task: Task) -> Result<Option<ExitStatus>> {
    match task {
        Task::Kubectl { arguments } => return kubectl(&arguments).map(Some),
        Task::Exec { place, command } => return exec(&place, &command).map(Some),
        Task::Cut { node } => println!("{}", ask(&Request::Cut(node))?),
        Task::Start { node } => println!("{}", ask(&Request::Start(node))?),
        Task::Add => println!("{}", ask(&Request::Add)?),
        Task::Info => print!("{}", up::instructions(&facts()?)?),
        Task::Down => println!("{}", ask(&Request::Down)?),
    }
    Ok(None)
}

fn kubectl(arguments: &[OsString]) -> Result<ExitStatus> {
    let Facts { kubeconfig, .. } = facts()?;
    let mut kubectl = Command::new(program("kubectl")?);
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    kubectl.status().context("running kubectl")
}

fn exec(place: &str, command: &[OsString]) -> Result<ExitStatus> {
    let facts = facts()?;
    if let Some(node) = facts.nodes.iter().find(|node| node.name == place) {
        let init = node.init.with_context(|| format!("{place} is switched off"))?;
        return enter(init, command)?.status().with_context(|| format!("running {}", command[0].display()));
    }
    let mut run = Command::new(&command[0]);
    run.args(&command[1..]);
    lab::exec(&facts.folder, place, run).with_context(|| {
        let names: Vec<_> = facts.nodes.iter().map(|node| node.name.as_str()).collect();
        format!("there are: router, client, {}", names.join(", "))
    })
}
