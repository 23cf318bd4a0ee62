//! `cargo xtask cluster`: prepares this machine, builds, and lets `lb-lab cluster` do the rest.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;

use super::{Extent, build, edgelb};
use crate::{
    lab_program::{DEV, LabProgram},
    preflight,
    programs::{self, NODE},
};

const LAB: LabProgram = LabProgram { name: "lb-lab", profile: DEV, helpers: &[], needs_agent: false };
const LAB_AND_AGENT: LabProgram = LabProgram { needs_agent: true, ..LAB };

/// A cluster for a person, and what is done with it.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Without a command it raises the cluster (ten seconds, once everything is built,
and half a minute with edgelb), says how to use it, and leaves it up. All of it is on this machine, in network
namespaces: a router, a client, and nodes with real kubelets and containerd,
IPv4 and IPv6. Nothing outside of them is changed. Needs root.

  cargo xtask cluster                          three nodes
  cargo xtask cluster --with-edgelb            with edgelb on all of them
  cargo xtask cluster kubectl get pods -A      kubectl as admin
  cargo xtask cluster exec node-1 bash         a shell; also `router`, `client`
  cargo xtask cluster cut node-2               a power cut
  cargo xtask cluster start node-2             on again, as a fresh machine
  cargo xtask cluster add                      one more node
  cargo xtask cluster info                     how to use it
  cargo xtask cluster down                     take it down
"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    up: Up,
}

#[derive(clap::Args)]
struct Up {
    /// How many nodes: 1 to 7.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Make all nodes edge nodes, apply deploy/overlays/demo with an image of what is built here, and wait until the
    /// VIPs answer; says how to ask them.
    #[arg(long)]
    with_edgelb: bool,
    /// An image archive (OCI) that every node gets; may be given several times.
    #[arg(long, value_name = "FILE")]
    image: Vec<OsString>,
    /// A manifest, or a folder with a kustomization, to apply at the end; may be given several times.
    #[arg(long, value_name = "FILE")]
    apply: Vec<OsString>,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Only build what it needs, and say where that is.
    Build,
    /// For the cluster that stands: kubectl, exec, cut, start, add, info, down.
    #[command(external_subcommand)]
    Standing(Vec<OsString>),
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    match options.task {
        Some(Task::Build) => {
            for (name, value) in build(Extent::Nodes)? {
                println!("{name}={}", value.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Standing(arguments)) => {
            let arguments: Vec<_> = [OsString::from("cluster")].into_iter().chain(arguments).collect();
            match LAB.replace_us(&arguments, &[])? {}
        }
        None => up(options.up),
    }
}

fn up(up: Up) -> Result<ExitCode> {
    preflight::lab("cluster")?;
    programs::ensure(&NODE)?;
    let environment = build(Extent::Nodes)?;
    if up.with_edgelb {
        LAB_AND_AGENT.build()?
    } else {
        LAB.build()?
    }
    let mut arguments: Vec<OsString> = ["cluster", "up", "--nodes"].map(OsString::from).to_vec();
    arguments.push(up.nodes.to_string().into());
    if up.with_edgelb {
        arguments.extend(edgelb::arguments(&DEV)?);
    }
    for (flag, files) in [("--image", up.image), ("--apply", up.apply)] {
        arguments.extend(files.into_iter().flat_map(|file| [flag.into(), file]));
    }
    match LAB.replace_us(&arguments, &environment)? {}
}
