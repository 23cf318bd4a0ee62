//! Traefik: one processor to Go; a change is another file in the folder that it watches.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Map, json};

use super::super::site::{Listen, Route, Site};
use super::super::template;
use super::{Peer, program};

const CONFIGURATION: &str = "traefik.yaml";

pub(super) struct Traefik;

impl Peer for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn prepare(&self, site: &Site, listen: Listen, folder: &Path) -> Result<Command> {
        template::write_certificate(site, folder)?;
        let common = template::fill("traefik-common.yaml", site, listen, folder)?;
        template::write(folder, "dynamic/common.yaml", &common)?;
        write_routes(folder, "routes", &site.routes)?;
        let configuration =
            template::write(folder, CONFIGURATION, &template::fill(CONFIGURATION, site, listen, folder)?)?;
        let mut command = Command::new(program("traefik", "LB_TRAEFIK")?);
        command.env("GOMAXPROCS", "1").arg("--configfile").arg(configuration);
        Ok(command)
    }

    fn add_last_host(&self, site: &Site, _listen: Listen, folder: &Path, _pid: u32) -> Result<()> {
        let route = site.routes.last().context("a site has a host")?;
        write_routes(folder, &route.host, std::slice::from_ref(route))
    }
}

fn write_routes(folder: &Path, name: &str, routes: &[Route]) -> Result<()> {
    let mut routers = Map::new();
    for route in routes {
        for (number, path) in route.paths.iter().enumerate() {
            let host = &route.host;
            let rule = match path.as_str() {
                "/" => format!("Host(`{host}`)"),
                path => format!("Host(`{host}`) && PathPrefix(`{path}`)"),
            };
            routers.insert(format!("{host}-{number}"), json!({"rule": rule, "service": "pods@file"}));
        }
    }
    let text = json!({"http": {"routers": routers}}).to_string();
    template::write(folder, &format!("dynamic/{name}.yaml"), &text).map(drop)
}
