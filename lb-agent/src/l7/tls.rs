//! TLS towards clients: which certificates answer which name, and what is kept from one snapshot to the next.

mod failure;
mod handshake;
mod index;
mod key;
mod set;
mod terms;
mod ticket_keys;
mod tickets;
mod time;

use std::sync::Arc;

use thiserror::Error;

pub use self::failure::HandshakeFailure;
pub(super) use self::handshake::{outcome, shake_hands};
pub(super) use self::index::CertificateIndex;
use self::key::Key;
use self::set::{CertificateSet, Sets};
use self::terms::Terms;
pub use self::tickets::Tickets;
use super::kept::Kept;
use crate::model::{Certificate, HostPattern, KeyKind, Kind, ObjectRef, PrivateKey, SharedMap};

/// TLS cannot be set up: the cryptography library refuses, so nothing can be served.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate for names that have none could not be made.
    #[error("making the self-signed fallback certificate")]
    Fallback(#[from] rcgen::Error),
    /// It could not be used.
    #[error("setting up TLS")]
    Rustls(#[from] rustls::Error),
}

/// Everything that TLS configurations of all listeners and snapshots share.
pub(super) struct Tls {
    fallback: Arc<CertificateSet>,
    keys: Kept<Certificate, Key>,
    sets: Sets,
}

/// Certificates by host, as the model has them.
pub(super) type Certificates = SharedMap<HostPattern, Arc<[Arc<Certificate>]>>;

impl Tls {
    /// With a fallback certificate of its own.
    pub(super) fn new(tickets: Tickets) -> Result<Self, TlsError> {
        let mut sets = Sets::new(Arc::new(Terms::new(tickets)?));
        let fallback = sets.of(Some(Arc::new(Key::new(Arc::new(self_signed()?)))), None);
        Ok(Self { fallback, keys: Kept::default(), sets })
    }

    /// What answers with these certificates.
    pub(super) fn index(&mut self, certificates: &Certificates) -> Arc<CertificateIndex> {
        let none = CertificateIndex::new(self.fallback.clone());
        self.change(none, &Certificates::default(), certificates)
    }

    /// What answers with these certificates, where `index` did with those `before`: only what differs is made.
    pub(super) fn follow(
        &mut self,
        index: &CertificateIndex,
        before: &Certificates,
        certificates: &Certificates,
    ) -> Arc<CertificateIndex> {
        self.change(index.clone(), before, certificates)
    }

    /// Drops the keys that no configuration needs any more.
    pub(super) fn forget_unused(&mut self) {
        self.sets.forget_unused();
        self.keys.forget_unused();
    }

    fn change(
        &mut self,
        mut index: CertificateIndex,
        before: &Certificates,
        certificates: &Certificates,
    ) -> Arc<CertificateIndex> {
        for (pattern, _, chosen) in certificates.changes(before) {
            let set = chosen.map(|chosen| self.set(chosen));
            index.set(pattern, set);
        }
        Arc::new(index)
    }

    fn set(&mut self, certificates: &[Arc<Certificate>]) -> Arc<CertificateSet> {
        let (mut ecdsa, mut rsa) = (None, None);
        for certificate in certificates {
            let slot = match certificate.key_kind {
                KeyKind::Ecdsa => &mut ecdsa,
                KeyKind::Rsa => &mut rsa,
            };
            *slot = Some(self.keys.of(certificate, |certificate| Key::new(certificate.clone())));
        }
        self.sets.of(ecdsa, rsa)
    }
}

fn self_signed() -> Result<Certificate, rcgen::Error> {
    let made = rcgen::generate_simple_self_signed(["edgelb.invalid".to_owned()])?;
    Ok(Certificate {
        secret: ObjectRef::new(Kind::Secret, "", "self-signed"),
        chain: Arc::from([Box::from(made.cert.der().as_ref())]),
        key: PrivateKey(made.signing_key.serialize_der().into()),
        key_kind: KeyKind::Ecdsa,
        staple: None,
        dns_names: Vec::new(),
        not_before: 0,
        not_after: 0,
    })
}
