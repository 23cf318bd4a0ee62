//! Kubeconfig files: JSON, which is YAML too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How a client says who it is.
#[derive(Clone, Debug)]
pub enum Login {
    /// By a token.
    Token(String),
    /// By what this file holds: read again after a while, as in a pod.
    TokenFile(PathBuf),
}

/// Writes the file for a server at `url`, whose certificate the authority in `ca` signed.
pub(crate) fn write(file: &Path, url: &str, ca: &Path, login: &Login) -> Result<()> {
    let user = match login {
        Login::Token(token) => json!({ "token": token }),
        Login::TokenFile(path) => json!({ "tokenFile": path }),
    };
    let config = config(url, ca, &user);
    fs::write(file, serde_json::to_vec_pretty(&config)?)
        .with_context(|| format!("writing {}", file.display()))
}

fn config(url: &str, ca: &Path, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "edgelb",
        "clusters": [{ "name": "edgelb", "cluster": { "server": url, "certificate-authority": ca } }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "edgelb", "context": { "cluster": "edgelb", "user": "user" } }],
    })
}
