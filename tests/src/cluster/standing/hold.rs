//! The process that holds a cluster until it is told otherwise.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};

use super::request::{Answer, Facts, NodeFacts, Request, socket};
use super::{Options, demo};
use crate::cluster::{Cluster, Settings, kubernetes_version};
use crate::interrupt;

/// The line after which whoever started this process may go.
pub(super) const DONE: &str = "done";

/// Raises a cluster, saying how far it is on standard output, and holds it until it is taken down.
///
/// # Errors
/// If it cannot be raised.
pub fn hold(options: &Options) -> Result<()> {
    interrupt::watch()?;
    let mut cluster =
        step(&format!("starting Kubernetes {} with {} nodes", kubernetes_version(), options.nodes), || {
            Cluster::start(&Settings {
                nodes: options.nodes,
                images: options.image.clone(),
                ..Settings::default()
            })
        })?;
    if let Err(problem) = prepare(&cluster, options) {
        // A person can find out why only while it stands.
        say(&format!("  FAILED: {problem:#}"));
    }
    let listener = UnixListener::bind(socket(cluster.folder()))?;
    // From now on the terminal's Ctrl-C is for others.
    setsid()?;
    say(DONE);
    let_go_of_the_terminal(&cluster)?;
    let asked = serve(&listener, &mut cluster, options)?;
    drop(cluster);
    tell(&asked, &Ok("the cluster is gone".to_owned()))
}

fn prepare(cluster: &Cluster, options: &Options) -> Result<()> {
    if let Some(overlay) = &options.demo {
        step("making the nodes edge nodes, with routes for the VIPs", || demo::make_edge(cluster))?;
        step(&format!("applying {}", overlay.display()), || apply(cluster, overlay))?;
        step("making a certificate", || demo::certificate(cluster))?;
        step("waiting for edgelb and the app", || demo::rolled_out(cluster))?;
        step("asking the VIPs", || demo::answers(cluster))?;
    }
    for manifest in &options.apply {
        step(&format!("applying {}", manifest.display()), || apply(cluster, manifest))?;
    }
    Ok(())
}

/// A pipe that reads what the starter says would wait for us, too.
fn let_go_of_the_terminal(cluster: &Cluster) -> Result<()> {
    let log = File::create(cluster.control_plane.folder().join("log/holder.log"))?;
    dup2_stdout(&log)?;
    Ok(dup2_stderr(&log)?)
}

/// Says what is done, and how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("{what} ..."));
    let start = Instant::now();
    let done = work()?;
    say(&format!("  {:.1} s", start.elapsed().as_secs_f64()));
    Ok(done)
}

/// Nobody may be listening any more.
fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn apply(cluster: &Cluster, manifest: &Path) -> Result<()> {
    let flag = if manifest.is_dir() { "-k" } else { "-f" };
    let path = manifest.to_str().context("a path in UTF-8")?;
    cluster.control_plane.kubectl(&["apply", "--server-side", "--validate=strict", flag, path]).map(drop)
}

/// One at a time, until somebody wants it taken down, and waits for that.
fn serve(listener: &UnixListener, cluster: &mut Cluster, options: &Options) -> Result<UnixStream> {
    for stream in listener.incoming() {
        let stream = stream?;
        match read(&stream) {
            Ok(Request::Down) => return Ok(stream),
            // A person who has gone away needs no answer.
            Ok(request) => {
                drop(tell(&stream, &act(request, cluster, options).map_err(|error| format!("{error:#}"))))
            }
            // Somebody only looked whether we are there.
            Err(_) => {}
        }
    }
    bail!("nobody can ask any more")
}

fn read(stream: &UnixStream) -> Result<Request> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn tell(mut stream: &UnixStream, answer: &Answer) -> Result<()> {
    Ok(writeln!(stream, "{}", serde_json::to_string(answer)?)?)
}

fn act(request: Request, cluster: &mut Cluster, options: &Options) -> Result<String> {
    match request {
        Request::Facts => Ok(serde_json::to_string(&facts(cluster, options))?),
        Request::Cut(node) => {
            cluster.power_cut(&node)?;
            Ok(format!("{node} is dark; the API server notices in about ten seconds"))
        }
        Request::Start(node) => {
            cluster.switch_on(&node)?;
            Ok(format!("{node} is ready"))
        }
        Request::Add => {
            cluster.add_node()?;
            Ok(format!(
                "{} is ready",
                cluster.nodes.last().map(|node| node.name.as_str()).unwrap_or_default()
            ))
        }
        Request::Down => Ok(String::new()),
    }
}

fn facts(cluster: &Cluster, options: &Options) -> Facts {
    let node = |node: &crate::cluster::Node| NodeFacts {
        name: node.name.clone(),
        addresses: node.addresses(),
        init: node.init_id().ok(),
    };
    Facts {
        folder: cluster.folder().to_owned(),
        kubeconfig: cluster.control_plane.kubeconfig(),
        log: cluster.control_plane.folder().join("log"),
        demo: options.demo.as_ref().map(|_| cluster.control_plane.authority_file()),
        nodes: cluster.nodes.iter().map(node).collect(),
    }
}
