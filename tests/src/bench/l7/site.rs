//! What every peer serves in a scenario: hosts and paths, all to one backend.

use std::net::SocketAddr;

use anyhow::Result;
use tempfile::TempDir;

use super::descriptors::Descriptors;
use super::free_port;
use crate::backend;
use crate::lab::certificates::{Authority, Certificate};

/// The host of most scenarios.
pub(super) const HOST: &str = "bench.example.org";

/// Which routes there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Routes {
    /// So many hosts, each with all of its paths.
    Hosts(usize),
    /// So many paths of one host, as prefixes.
    Paths(usize),
}

/// What is asked of a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Needs {
    pub(super) routes: Routes,
    /// HTTPS with HTTP/2, beside HTTP.
    pub(super) tls: bool,
    /// The backend speaks gRPC, and nothing else.
    pub(super) grpc: bool,
    /// WebSockets: nginx has to be told.
    pub(super) upgrades: bool,
}

/// The plain site: one host, HTTP.
pub(super) const PLAIN: Needs = Needs { routes: Routes::Hosts(1), tls: false, grpc: false, upgrades: false };

/// A site as it is told to a peer.
pub(super) struct Site {
    pub(super) needs: Needs,
    pub(super) routes: Vec<Route>,
    pub(super) backend: SocketAddr,
    pub(super) certificate: Certificate,
    /// Of the clients.
    pub(super) authority: Authority,
    /// What a process may open.
    pub(super) descriptors: Descriptors,
}

/// A host and the prefixes of its paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) paths: Vec<String>,
}

/// Where a peer listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
}

impl Site {
    /// With a backend of its own, which lives as long as this process.
    pub(super) fn new(needs: Needs, descriptors: Descriptors) -> Result<Self> {
        let folder = TempDir::new()?;
        let authority = Authority::new(&folder.path().join("ca.pem"))?;
        let certificate = authority.sign(&[HOST])?;
        let backend = if needs.grpc { backend::start_grpc() } else { backend::start() }?;
        Ok(Self { needs, routes: needs.routes.all(), backend, certificate, authority, descriptors })
    }

    /// Host and path of every route.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.routes
            .iter()
            .flat_map(|route| route.paths.iter().map(|path| (route.host.as_str(), path.as_str())))
    }
}

impl Routes {
    fn all(self) -> Vec<Route> {
        match self {
            Self::Hosts(1) => vec![Route::to(HOST.to_owned())],
            Self::Hosts(count) => (0..count).map(|n| Route::to(format!("app-{n}.example.org"))).collect(),
            Self::Paths(count) => {
                let paths = (0..count).map(|n| format!("/path-{n:05}")).collect();
                vec![Route { host: HOST.to_owned(), paths }]
            }
        }
    }
}

impl Route {
    /// All paths of a host.
    pub(super) fn to(host: String) -> Self {
        Self { host, paths: vec!["/".to_owned()] }
    }
}

impl Listen {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { http: free_port()?, https: free_port()? })
    }
}
