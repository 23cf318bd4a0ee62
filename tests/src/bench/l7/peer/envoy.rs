//! Envoy: one worker; a change is a new file of routes, put in the old one's place.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::super::site::{Listen, Route, Site};
use super::super::template;
use super::{Peer, program};

const CONFIGURATION: &str = "envoy.yaml";

pub(super) struct Envoy;

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn prepare(&self, site: &Site, listen: Listen, folder: &Path) -> Result<Command> {
        template::write_certificate(site, folder)?;
        write_routes(site, folder)?;
        let configuration =
            template::write(folder, CONFIGURATION, &template::fill(CONFIGURATION, site, listen, folder)?)?;
        let mut command = Command::new(program("envoy", "LB_ENVOY")?);
        command.args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--config-path",
        ]);
        command.arg(configuration);
        Ok(command)
    }

    fn add_last_host(&self, site: &Site, _listen: Listen, folder: &Path, _pid: u32) -> Result<()> {
        write_routes(site, folder)
    }
}

fn write_routes(site: &Site, folder: &Path) -> Result<()> {
    let hosts: Vec<_> = site.routes.iter().map(virtual_host).collect();
    let routes = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "bench",
        "virtual_hosts": hosts,
    }]});
    template::write(folder, "routes.json", &routes.to_string()).map(drop)
}

fn virtual_host(route: &Route) -> Value {
    let matches = |path: &str| match path {
        "/" => json!({"prefix": "/"}),
        path => json!({"path_separated_prefix": path}),
    };
    let routes: Vec<_> = route
        .paths
        .iter()
        .map(|path| json!({"match": matches(path), "route": {"cluster": "pods"}}))
        .collect();
    json!({"name": route.host, "domains": [route.host], "routes": routes})
}
