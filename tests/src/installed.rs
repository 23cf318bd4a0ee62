//! What `cargo xtask test` installs from PyPI and npm: where it is in the cache.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::versions::{GRPCIO, SSLYZE, TLSLITE, WEBSOCKETS, WS};

/// A Python that has `grpc`.
///
/// # Errors
/// Says how to install it, if it is not there.
pub fn grpcio() -> Result<PathBuf> {
    tool("grpcio", GRPCIO, "bin/python")
}

/// The program `sslyze`.
///
/// # Errors
/// As `grpcio`.
pub fn sslyze() -> Result<PathBuf> {
    tool("sslyze", SSLYZE, "bin/sslyze")
}

/// A Python that has `tlslite`.
///
/// # Errors
/// As `grpcio`.
pub fn tlslite() -> Result<PathBuf> {
    tool("tlslite-ng", TLSLITE, "bin/python")
}

/// A Python that has `websockets`.
///
/// # Errors
/// As `grpcio`.
pub fn websockets() -> Result<PathBuf> {
    tool("websockets", WEBSOCKETS, "bin/python")
}

/// The folder in which Node.js finds `ws`.
///
/// # Errors
/// As `grpcio`.
pub fn ws() -> Result<PathBuf> {
    tool("ws", WS, "node_modules")
}

fn tool(name: &str, version: &str, file: &str) -> Result<PathBuf> {
    let path = cache()?.join("tools").join(format!("{name}-{version}")).join(file);
    ensure!(path.exists(), "no {name}: `cargo xtask test proxy` installs it");
    Ok(path)
}

/// The folder of what we install and build, as xtask finds it.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("EDGELB_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("edgelb")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/edgelb")))
        .context("no cache folder: set EDGELB_CACHE, or HOME")
}
