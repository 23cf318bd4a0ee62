//! Certificates by the name that a client asks for, or that a request is for.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ClientHello;

use super::set::CertificateSet;
use crate::l7::by_host::ByHost;
use crate::model::{Host, HostPattern};

/// What answers on a listener. Clones share what they have in common.
#[derive(Clone)]
pub(in crate::l7) struct CertificateIndex {
    hosts: ByHost<Arc<CertificateSet>>,
    fallback: Arc<CertificateSet>,
}

impl CertificateIndex {
    /// With this one alone, for names that have none.
    pub(super) fn new(fallback: Arc<CertificateSet>) -> Self {
        Self { hosts: ByHost::default(), fallback }
    }

    /// The certificates of a pattern, or none.
    pub(super) fn set(&mut self, pattern: &HostPattern, set: Option<Arc<CertificateSet>>) {
        self.hosts.set(pattern, set);
    }

    /// How a handshake goes on that began so.
    pub(super) fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let name = Host::normalise(hello.server_name().unwrap_or_default());
        let usable = |set: &&Arc<CertificateSet>| set.is_usable();
        let set = [Some(self.find(&name)), self.hosts.any()].into_iter().flatten().find(usable);
        set.unwrap_or(&self.fallback).config()
    }

    /// Whether who asked for one name may be answered for the other, too: both show the same certificates.
    pub(in crate::l7) fn are_one(&self, name: &str, other: &str) -> bool {
        self.find(name).is(self.find(other))
    }

    /// The certificates of the most specific pattern.
    fn find(&self, name: &str) -> &Arc<CertificateSet> {
        self.hosts.get(name).unwrap_or(&self.fallback)
    }
}

impl fmt::Debug for CertificateIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateIndex").field("hosts", &self.hosts.len()).finish_non_exhaustive()
    }
}
