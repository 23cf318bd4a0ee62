//! edgelb without packet path, from a folder of manifests: the same binary and defaults as on a node.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::site::{Listen, Route, Site};
use super::super::template;
use super::{OWN, Peer};
use crate::lab::manifests::{ingress, secret};
use crate::lab::program;

const SERVICE: &str = "pods";
const SECRET: &str = "bench-tls";
const MANIFESTS: &str = "manifests";

/// Paths of one Ingress: an object of the API has its limits.
const PATHS: usize = 500;

pub(super) struct Edgelb;

impl Peer for Edgelb {
    fn name(&self) -> &'static str {
        OWN
    }

    fn prepare(&self, site: &Site, listen: Listen, folder: &Path) -> Result<Command> {
        let common = template::fill("edgelb.yaml", site, listen, folder)?;
        template::write(folder, &format!("{MANIFESTS}/common.yaml"), &common)?;
        if site.needs.tls {
            let text = secret(SECRET, &site.certificate);
            template::write(folder, &format!("{MANIFESTS}/secret.yaml"), &text)?;
        }
        for (number, route) in site.routes.iter().enumerate() {
            write_route(site, folder, number, route)?;
        }
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.args(["--log", "error", "run", "--no-xdp", "--workers", "1", "--admin", ""]);
        command.args(["--http", &listen.http.to_string()]);
        if site.needs.tls {
            command.args(["--https", &listen.https.to_string()]);
        }
        command.arg("--manifests").arg(folder.join(MANIFESTS)).arg("--state").arg(folder);
        command.arg("--admin-socket").arg(folder.join("admin"));
        Ok(command)
    }

    fn add_last_host(&self, site: &Site, _listen: Listen, folder: &Path, _pid: u32) -> Result<()> {
        let route = site.routes.last().context("a site has a host")?;
        write_route(site, folder, site.routes.len() - 1, route)
    }
}

/// A file for each host, as people have it.
fn write_route(site: &Site, folder: &Path, number: usize, route: &Route) -> Result<()> {
    let mut text = String::new();
    for (part, paths) in route.paths.chunks(PATHS).enumerate() {
        let rules: Vec<_> = paths.iter().map(|path| (route.host.as_str(), path.as_str(), SERVICE)).collect();
        let tls = [(route.host.as_str(), SECRET)];
        let tls = if site.needs.tls { &tls[..] } else { &[] };
        let _ = writeln!(text, "---\n{}", ingress(&format!("app-{number}-{part}"), &rules, tls));
    }
    template::write(folder, &format!("{MANIFESTS}/app-{number}.yaml"), &text).map(drop)
}
