//! What the holder of a cluster is asked, one line of JSON each way.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::lab::LABS;

/// In the cluster's folder.
const SOCKET: &str = "holder.sock";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Facts,
    Cut(String),
    Start(String),
    Add,
    Down,
}

/// A success with something to say, or why not.
pub(super) type Answer = Result<String, String>;

/// What there is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) folder: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) log: PathBuf,
    /// The authority that signed the app's certificate, if there is edgelb with an app.
    pub(super) demo: Option<PathBuf>,
    pub(super) nodes: Vec<NodeFacts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeFacts {
    pub(super) name: String,
    pub(super) addresses: [std::net::IpAddr; 2],
    /// The node's first process, if it is switched on.
    pub(super) init: Option<u32>,
}

/// Where the holder of the cluster in `folder` listens.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

/// What the cluster that stands says of itself.
pub(super) fn facts() -> Result<Facts> {
    Ok(serde_json::from_str(&ask(&Request::Facts)?)?)
}

/// Asks the holder of the cluster that stands.
pub(super) fn ask(request: &Request) -> Result<String> {
    let mut stream = find().context("no cluster stands: `cargo xtask cluster` raises one")?;
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str::<Answer>(&line).context("the cluster's holder ended")? {
        Ok(said) => Ok(said),
        Err(problem) => bail!("{problem}"),
    }
}

/// A connection to the holder of the cluster that stands.
pub(super) fn find() -> Option<UnixStream> {
    let labs = fs::read_dir(LABS).ok()?;
    labs.filter_map(|lab| UnixStream::connect(socket(&lab.ok()?.path())).ok()).next()
}
