//! etcd forgets what was before: the versions that watches would go on from.

use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use crate::lab::http::Connection;

impl ControlPlane {
    /// Compacts etcd up to its newest revision, and defragments it. An API server that runs remembers the last changes
    /// all the same; started again, it does not.
    ///
    /// # Errors
    /// If etcd refuses, or is not reached from here: on a router of a lab.
    pub fn compact(&self) -> Result<()> {
        let url = &self.ground.etcd()[0];
        let address = url.strip_prefix("http://").context("etcd's URL")?;
        let status = ask(address, "/v3/maintenance/status", &json!({}))?;
        let revision = status["header"]["revision"].as_str().context("a revision")?;
        ask(address, "/v3/kv/compaction", &json!({ "revision": revision, "physical": true }))?;
        ask(address, "/v3/maintenance/defragment", &json!({})).map(drop)
    }
}

fn ask(address: &str, path: &str, body: &Value) -> Result<Value> {
    let mut connection = Connection::new(TcpStream::connect(address).context("connecting to etcd")?);
    let answer = connection.post(address, path, body.to_string().as_bytes())?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "etcd says {} to {path}: {text}", answer.status);
    Ok(serde_json::from_str(&text)?)
}
