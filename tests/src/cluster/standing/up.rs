//! Raises a cluster that stays, and says how to use it.

use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::demo;
use super::hold::DONE;
use super::request::{Facts, facts, find};
use crate::cluster::programs::program;

/// The same in a shell.
const XTASK: &str = "cargo xtask cluster";

/// Starts the process that holds the cluster, shows how far it is, and leaves it behind.
///
/// # Errors
/// If one stands already, or it cannot be raised.
pub fn up() -> Result<()> {
    ensure!(
        find().is_none(),
        "a cluster stands already: `{XTASK} info` shows it, `{XTASK} down` takes it down"
    );
    // As it was given to us: the holder reads the same.
    let arguments = env::args_os().skip_while(|argument| argument != "up").skip(1);
    let mut holder = Command::new(env::current_exe()?)
        .args(["cluster", "hold"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the cluster's holder")?;
    let output = holder.stdout.take().context("its output is ours")?;
    for line in BufReader::new(output).lines() {
        match line?.as_str() {
            DONE => {
                print!("{}", instructions(&facts()?)?);
                return Ok(());
            }
            line => println!("{line}"),
        }
    }
    let status = holder.wait()?;
    ensure!(status.success(), "the cluster could not be raised ({status})");
    Ok(())
}

/// What a person can do now.
pub(super) fn instructions(facts: &Facts) -> Result<String> {
    let kubectl = program("kubectl")?;
    let mut text = String::from("\nThe cluster is up.\n\n");
    for node in &facts.nodes {
        let state = if node.init.is_some() { "" } else { "   (switched off)" };
        writeln!(text, "  {}   {}   {}{state}", node.name, node.addresses[0], node.addresses[1])?;
    }
    writeln!(text, "\n  export KUBECONFIG={}", facts.kubeconfig.display())?;
    writeln!(text, "  {} get nodes -o wide\n", kubectl.display())?;
    for (what, command) in [
        ("kubectl", "kubectl get pods -A -o wide"),
        ("a shell on a node", "exec node-1 bash"),
        ("the router, with its routes for the VIPs", "exec router ip route"),
        ("where clients are", "exec client ip addr"),
        ("a power cut", "cut node-2"),
        ("on again, a fresh machine", "start node-2"),
        ("one more node", "add"),
        ("this text", "info"),
        ("take it down", "down"),
    ] {
        writeln!(text, "  {what:<42} {XTASK} {command}")?;
    }
    if let Some(authority) = &facts.demo {
        text.push_str(&demo::instructions(XTASK, authority));
    }
    writeln!(
        text,
        "\n  logs: {}\n  the image edgelb.test/app:1 is on every node: tests/app/main.go",
        facts.log.display()
    )?;
    Ok(text)
}
