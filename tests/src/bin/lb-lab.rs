//! The lab's own program: the demo, what a person does with a lab, and what runs inside of it.

use std::ffi::OsString;
use std::process::{self, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use lb_tests::demo;
use lb_tests::lab::{self, Lab, Topology};
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
    /// Remove labs that were kept.
    Down,
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
        Command::Exec { name, command } => return exec(&name, &command),
        Command::Pod { name } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            match runtime.block_on(lab::server::serve(&name))? {}
        }
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

/// Ends as the command does.
fn exec(name: &str, command: &[OsString]) -> Result<ExitCode> {
    let kept = lab::kept()?;
    let folder = kept.last().context("no lab was kept: `lb-lab demo --keep` leaves one")?;
    let mut run = process::Command::new(&command[0]);
    run.args(&command[1..]);
    let status = lab::exec(folder, name, run)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
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
