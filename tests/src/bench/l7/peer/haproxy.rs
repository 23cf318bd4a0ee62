//! HAProxy: one thread, all routes in one map; a change goes by the runtime API, as its controllers do it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::super::site::{Listen, Site};
use super::super::template;
use super::{Peer, program};

const CONFIGURATION: &str = "haproxy.cfg";
const ROUTES: &str = "routes.map";

pub(super) struct Haproxy;

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn prepare(&self, site: &Site, listen: Listen, folder: &Path) -> Result<Command> {
        template::write_certificate(site, folder)?;
        let mut routes = String::new();
        for (host, path) in site.targets() {
            writeln!(routes, "{host}{path} pods")?;
        }
        template::write(folder, ROUTES, &routes)?;
        let configuration =
            template::write(folder, CONFIGURATION, &template::fill(CONFIGURATION, site, listen, folder)?)?;
        let mut command = Command::new(program("haproxy", "LB_HAPROXY")?);
        command.arg("-db").arg("-f").arg(configuration);
        Ok(command)
    }

    fn add_last_host(&self, site: &Site, _listen: Listen, folder: &Path, _pid: u32) -> Result<()> {
        let (host, path) = site.targets().last().context("a site has a host")?;
        let mut runtime = UnixStream::connect(folder.join("admin.sock"))?;
        writeln!(runtime, "add map {} {host}{path} pods", folder.join(ROUTES).display())?;
        let mut answer = String::new();
        runtime.read_to_string(&mut answer)?;
        ensure!(answer.trim().is_empty(), "HAProxy's runtime API: {answer}");
        Ok(())
    }
}
