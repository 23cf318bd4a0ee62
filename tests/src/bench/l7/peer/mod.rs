//! The proxies under test, edgelb first. Each writes a site in its own language, says how it is started, and how a host is
//! added while it runs.

mod edgelb;
mod envoy;
mod haproxy;
mod nginx;
mod traefik;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::site::{Listen, Site};

/// Whom the others are compared with.
pub(super) const OWN: &str = "edgelb";

/// A proxy that can be told to serve a site.
pub(super) trait Peer: Sync {
    /// As it is called in reports and on the command line.
    fn name(&self) -> &'static str;

    /// Writes its configuration below `folder`, and says how it is started.
    fn prepare(&self, site: &Site, listen: Listen, folder: &Path) -> Result<Command>;

    /// Has the last host of a site served, too, by the running process `pid`.
    fn add_last_host(&self, site: &Site, listen: Listen, folder: &Path, pid: u32) -> Result<()>;
}

/// All of them.
pub(super) const ALL: [&dyn Peer; 5] =
    [&edgelb::Edgelb, &nginx::Nginx, &haproxy::Haproxy, &envoy::Envoy, &traefik::Traefik];

/// edgelb and the peers with these names; all, if none is named.
pub(super) fn select(names: &[String]) -> Result<Vec<&'static dyn Peer>> {
    let known: Vec<_> = ALL.iter().map(|peer| peer.name()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no peer {unknown:?}; there are {}", known.join(", "));
    }
    let is_wanted = |name| names.is_empty() || name == OWN || names.iter().any(|wanted| wanted == name);
    Ok(ALL.into_iter().filter(|peer| is_wanted(peer.name())).collect())
}

/// A program that `cargo xtask bench` has installed and names in a variable of the environment; else one of the path.
fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("no {name} on the path: `cargo xtask bench l7` installs it"))
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), signal).with_context(|| format!("{signal} to {pid}"))
}
