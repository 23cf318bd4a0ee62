//! The lab's own program: the demo, what a person does with a lab, and what runs inside of it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, ExitCode, ExitStatus};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use lb_tests::cluster::{ControlPlane, node, standing};
use lb_tests::demo;
use lb_tests::lab::{self, Lab, Topology};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// The network lab of edgelb.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what edgelb does, by real requests in a lab.
    Demo(demo::Options),
    /// A real Kubernetes that stands until it is taken down.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Run a command in a namespace of the lab that was kept last: client, router, edge-1, shop-1.
    Exec {
        /// The namespace.
        name: String,
        /// The command with its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Be a pod: serve HTTP where the lab started this process.
    Pod {
        /// The name that answers carry.
        #[arg(long)]
        name: String,
    },
    /// Raise a lab without agents and hold it until this process is ended.
    Hold,
    /// Start a control plane on loopback, print its folder, and hold it until this process is ended.
    ControlPlane,
    /// Become a command that is killed when the thread that started this process ends.
    Tied {
        /// The process that has the thread.
        parent: u32,
        /// The command with its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Boot a cluster's node in the network namespace of this process.
    NodeBoot {
        /// The file with the node's plan.
        plan: PathBuf,
    },
    /// Be a node's process 1.
    NodeInit {
        /// As above.
        plan: PathBuf,
    },
    /// Run a command in all namespaces of a process.
    Enter {
        /// The process.
        process: u32,
        /// The command with its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Remove labs that were kept.
    Down,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Raise it, and say how to use it.
    Up(standing::Options),
    /// Be the process that holds it.
    Hold(standing::Options),
    #[command(flatten)]
    Standing(standing::Task),
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Demo(options) => demo::run(options)?,
        Command::Cluster(command) => return cluster(command),
        Command::Exec { name, command } => return exec(&name, &command),
        Command::Pod { name } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            match runtime.block_on(lab::server::serve(&name))? {}
        }
        Command::ControlPlane => {
            let control_plane = ControlPlane::start()?;
            println!("{}", control_plane.folder().display());
            interrupted()?;
        }
        Command::Tied { parent, command } => match tied(parent, &command)? {},
        Command::NodeBoot { plan } => match node::boot(&plan)? {},
        Command::NodeInit { plan } => match node::init(&plan)? {},
        Command::Enter { process, command } => return enter(process, &command),
        Command::Hold => {
            let lab = Lab::start(&Topology::default())?;
            println!("{}", lab.folder().display());
            interrupted()?;
        }
        Command::Down => {
            for folder in lab::kept()? {
                lab::remove(&folder)?;
                println!("removed {}", folder.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn cluster(command: ClusterCommand) -> Result<ExitCode> {
    match command {
        ClusterCommand::Up(_) => standing::up()?,
        ClusterCommand::Hold(options) => standing::hold(&options)?,
        ClusterCommand::Standing(task) => return Ok(standing::run(task)?.map_or(ExitCode::SUCCESS, code)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends as the command does.
fn exec(name: &str, command: &[OsString]) -> Result<ExitCode> {
    let kept = lab::kept()?;
    let folder = kept.last().context("no lab was kept: `lb-lab demo --keep` leaves one")?;
    let mut run = process::Command::new(&command[0]);
    run.args(&command[1..]);
    Ok(code(lab::exec(folder, name, run)?))
}

/// Ends as the command does. Only a child is in another process namespace.
fn enter(pid: u32, command: &[OsString]) -> Result<ExitCode> {
    let kinds = [
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let open = |(name, kind)| Ok((File::open(format!("/proc/{pid}/ns/{name}"))?, kind));
    let namespaces: Vec<_> = kinds.into_iter().map(open).collect::<Result<_>>().context("it has ended")?;
    for (namespace, kind) in namespaces {
        setns(namespace, kind)?;
    }
    let mut run = process::Command::new(&command[0]);
    Ok(code(run.args(&command[1..]).current_dir("/").status()?))
}

fn code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The signal is asked for in vain if the parent is gone already.
fn tied(parent: u32, command: &[OsString]) -> Result<Infallible> {
    set_pdeathsig(Signal::SIGKILL)?;
    ensure!(std::os::unix::process::parent_id() == parent, "the process {parent} has ended");
    let refused = process::Command::new(&command[0]).args(&command[1..]).exec();
    Err(refused).with_context(|| format!("cannot start {}", command[0].display()))
}

/// Waits for Ctrl-C or SIGTERM.
fn interrupted() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
