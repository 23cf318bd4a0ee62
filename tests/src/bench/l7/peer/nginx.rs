//! nginx: a master with one worker; a change is a new file and SIGHUP.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::super::site::{Listen, Site};
use super::super::template;
use super::{Peer, program, signal};

const CONFIGURATION: &str = "nginx.conf";

pub(super) struct Nginx;

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn prepare(&self, site: &Site, listen: Listen, folder: &Path) -> Result<Command> {
        template::write_certificate(site, folder)?;
        write(site, listen, folder)?;
        let mut command = Command::new(program("nginx", "LB_NGINX")?);
        command.arg("-p").arg(folder).args(["-e", "stderr", "-c", CONFIGURATION]);
        Ok(command)
    }

    fn add_last_host(&self, site: &Site, listen: Listen, folder: &Path, pid: u32) -> Result<()> {
        write(site, listen, folder)?;
        signal(pid, Signal::SIGHUP)
    }
}

fn write(site: &Site, listen: Listen, folder: &Path) -> Result<()> {
    let text =
        template::fill(CONFIGURATION, site, listen, folder)?.replace("@SERVERS@", &servers(site, listen));
    template::write(folder, CONFIGURATION, &text).map(drop)
}

fn servers(site: &Site, listen: Listen) -> String {
    let pass = if site.needs.grpc { "grpc_pass grpc" } else { "proxy_pass http" };
    let secure = if site.needs.tls { format!("listen {} ssl http2; ", listen.https) } else { String::new() };
    let mut text = String::new();
    for route in &site.routes {
        let _ = writeln!(text, "    server {{ listen {}; {secure}server_name {};", listen.http, route.host);
        for path in &route.paths {
            let _ = writeln!(text, "        location {path} {{ {pass}://pods; }}");
        }
        text.push_str("    }\n");
    }
    text
}
