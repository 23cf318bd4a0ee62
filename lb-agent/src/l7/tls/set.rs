//! Certificate sets: what a host shows, at most one certificate per kind of key. Hosts with the same certificates
//! share a set, and with it the tickets that it accepts.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::key::Key;
use super::terms::Terms;
use crate::l7::in_use::InUse;

/// Separates this use of the hash from others.
const LABEL: &[u8] = b"edgelb certificate set v1";

/// What tells sets apart, the same on all nodes.
pub(super) type SetId = [u8; 32];

/// The certificates, and how handshakes with them go: made for the first one.
pub(in crate::l7) struct CertificateSet {
    keys: Arc<KeyPair>,
    terms: Arc<Terms>,
    id: OnceLock<SetId>,
    config: OnceLock<Arc<ServerConfig>>,
}

impl CertificateSet {
    /// Whether a handshake can be made with it.
    pub(super) fn is_usable(&self) -> bool {
        self.keys.all().any(|key| key.plain().is_some())
    }

    /// For a handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.get_or_init(|| self.terms.config(*self.id(), self.keys.clone())).clone()
    }

    /// Whether both show the same certificates, perhaps out of several Secrets.
    pub(super) fn is(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other) || self.id() == other.id()
    }

    fn id(&self) -> &SetId {
        self.id.get_or_init(|| self.keys.id())
    }
}

/// Where the keys of a set are in memory.
#[derive(PartialEq, Eq, Hash)]
struct Places([usize; 2]);

/// The keys of a set, at most one of each kind.
pub(super) struct KeyPair {
    ecdsa: Option<Arc<Key>>,
    rsa: Option<Arc<Key>>,
}

impl KeyPair {
    /// The elliptic curve first: it is cheaper for both.
    fn all(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.ecdsa.iter().chain(&self.rsa)
    }

    fn places(&self) -> Places {
        let place = |key: &Option<Arc<Key>>| key.as_ref().map_or(0, |key| Arc::as_ptr(key).addr());
        Places([place(&self.ecdsa), place(&self.rsa)])
    }

    fn id(&self) -> SetId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(LABEL);
        for leaf in self.all().map(|key| key.leaf()) {
            context.update(&leaf.len().to_be_bytes());
            context.update(leaf);
        }
        let mut id = SetId::default();
        id.copy_from_slice(context.finish().as_ref());
        id
    }
}

impl ResolvesServerCert for KeyPair {
    /// The first that the client can verify. A client that can verify neither gets what is there, and says so itself.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let both = || self.all().filter_map(|key| Some((key, key.plain()?)));
        let schemes = hello.signature_schemes();
        let verifiable = both().find(|(_, plain)| plain.key.choose_scheme(schemes).is_some());
        let (key, plain) = verifiable.or_else(|| both().next())?;
        Some(key.stapled().unwrap_or(plain).clone())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

/// The sets in use under the same terms.
pub(super) struct Sets {
    terms: Arc<Terms>,
    /// A set holds its keys: no other one can have their places while it is there.
    made: InUse<Places, CertificateSet>,
}

impl Sets {
    pub(super) fn new(terms: Arc<Terms>) -> Self {
        Self { terms, made: InUse::default() }
    }

    /// The set of these keys.
    pub(super) fn of(&mut self, ecdsa: Option<Arc<Key>>, rsa: Option<Arc<Key>>) -> Arc<CertificateSet> {
        let keys = KeyPair { ecdsa, rsa };
        let terms = &self.terms;
        self.made.of(keys.places(), |_| CertificateSet {
            keys: Arc::new(keys),
            terms: terms.clone(),
            id: OnceLock::new(),
            config: OnceLock::new(),
        })
    }

    pub(super) fn forget_unused(&mut self) {
        self.made.forget_unused();
    }
}
