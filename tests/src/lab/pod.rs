//! A pod of the lab: a namespace in which `lb-lab pod` serves HTTP (`server`).

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::address::{Addresses, Link};
use super::claim::Claim;
use super::namespace::Namespace;
use super::process::{Process, program};
use super::view::View;
use super::wait::eventually;
use super::{server, topology};

/// How long a pod may take until it answers.
const POD_START: Duration = Duration::from_secs(10);

/// A pod: an HTTP server in a namespace of its own.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The app that it belongs to.
    pub app: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its addresses.
    pub addresses: Addresses,
    server: Process,
}

impl Pod {
    pub(crate) fn raise(
        claim: &Claim,
        router: &Namespace,
        app: String,
        name: String,
        link: Link,
    ) -> Result<Self> {
        let namespace = topology::raise_host(claim, router, &name, link)?;
        let mut command = Command::new(program("lb-lab", "LB_LAB")?);
        command.args(["pod", "--name", &name]);
        let view = View { folder: claim.folder().to_owned(), node: None };
        let log = claim.folder().join("log").join(format!("{name}.log"));
        let server = Process::start(&name, &namespace, &view, command, &log)?;
        Ok(Self { name, app, namespace, addresses: link.host, server })
    }

    /// Waits until it answers.
    pub(crate) fn await_start(&self, router: &Namespace) -> Result<()> {
        let address = SocketAddr::new(self.addresses.v4.into(), server::PORT);
        eventually(&self.name, POD_START, || Ok(router.connect(address, POD_START)?))
            .with_context(|| self.server.log())?;
        Ok(())
    }

    /// Ends the pod's server at once; its address stays.
    ///
    /// # Errors
    /// Those of `kill`.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// The server's process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.server.id()
    }

    /// Lets the server run on without this value.
    pub(crate) fn forget(self) {
        self.server.forget();
    }
}
