//! Real `curl`, run where the lab's client is.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;

/// A request by curl.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curl<'a> {
    /// What is asked for: `http://shop.example.org/`.
    pub(super) url: &'a str,
    /// Over IPv6 instead of IPv4.
    pub(super) over_v6: bool,
}

impl Curl<'_> {
    /// As it is shown to people: the name would come from DNS, the authority from the system.
    pub(super) fn shown(&self) -> String {
        let family = if self.over_v6 { "-6 " } else { "" };
        let authority = if self.is_https() { "--cacert ca.pem " } else { "" };
        format!("curl {family}{authority}{}", self.url)
    }

    /// As it runs: the arguments after `curl`.
    pub(super) fn arguments(&self, lab: &Lab) -> Result<Vec<String>> {
        let host = self.host()?;
        let port = if self.is_https() { 443 } else { 80 };
        let vip = if self.over_v6 { format!("[{}]", lab.vip().v6) } else { lab.vip().v4.to_string() };
        let mut arguments = vec!["--resolve".to_owned(), format!("{host}:{port}:{vip}")];
        if self.is_https() {
            arguments.extend(["--cacert".to_owned(), lab.authority_file().display().to_string()]);
        }
        arguments.push(self.url.to_owned());
        Ok(arguments)
    }

    /// Runs it, and returns what it printed.
    pub(super) fn run(&self, lab: &Lab, more: &[&str]) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10"]).args(more).args(self.arguments(lab)?);
        let (status, text) = lab
            .client_output(curl)
            .context("curl is needed: `apt-get install curl`, or your distribution's way")?;
        ensure!(status.success(), "{} failed, {status}: {text}", self.shown());
        Ok(text)
    }

    fn is_https(&self) -> bool {
        self.url.starts_with("https:")
    }

    fn host(&self) -> Result<&str> {
        self.url.split('/').nth(2).context("a URL has a host")
    }
}

/// A field of a pod's report.
pub(super) fn field<'a>(report: &'a str, name: &str) -> Result<&'a str> {
    report
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .with_context(|| format!("no {name:?} in the answer: {report:?}"))
}

/// The name of the node with this address.
pub(super) fn node_name<'a>(lab: &'a Lab, address: &str) -> Result<&'a str> {
    let address: std::net::IpAddr = address.parse()?;
    let node = lab.edges.iter().find(|node| node.link.host.both().contains(&address));
    Ok(&node.with_context(|| format!("{address} is no node's"))?.name)
}
