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

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

pub use self::failure::HandshakeFailure;
pub(super) use self::handshake::{Hello, outcome};
pub(super) use self::index::CertificateIndex;
use self::key::Key;
use self::set::{CertificateSet, Sets};
use self::terms::Terms;
pub use self::tickets::Tickets;
use super::in_use::{InUse, Place};
use crate::model::{Certificate, HostPattern, KeyKind, Kind, ObjectRef, RouteTable, SharedMap, TlsPolicy};

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
    usual: Arc<Terms>,
    fallback: Arc<Key>,
    keys: InUse<Place<Certificate>, Key>,
    sets: HashMap<TlsPolicy, Sets>,
}

impl Tls {
    /// With a fallback certificate of its own.
    pub(super) fn new(tickets: Tickets) -> Result<Self, TlsError> {
        let fallback = Arc::new(Key::new(Arc::new(self_signed()?)));
        let usual = Arc::new(Terms::new(TlsPolicy::default(), tickets)?);
        Ok(Self { usual, fallback, keys: InUse::default(), sets: HashMap::new() })
    }

    /// What answers with a table's certificates.
    pub(super) fn index(&mut self, table: &RouteTable) -> Arc<CertificateIndex> {
        let fallback = Some(self.fallback.clone());
        let none = CertificateIndex::new(self.sets(table.tls).of(fallback, None));
        self.change(none, &SharedMap::default(), table)
    }

    /// What answers with a table's certificates, where `index` did for the one `before`: only what differs is made.
    pub(super) fn follow(
        &mut self,
        index: &CertificateIndex,
        before: &RouteTable,
        table: &RouteTable,
    ) -> Arc<CertificateIndex> {
        match before.tls == table.tls {
            true => self.change(index.clone(), &before.certificates, table),
            false => self.index(table),
        }
    }

    /// Drops the keys that no configuration needs any more.
    pub(super) fn forget_unused(&mut self) {
        self.sets.values_mut().for_each(Sets::forget_unused);
        self.keys.forget_unused();
    }

    fn change(
        &mut self,
        mut index: CertificateIndex,
        before: &SharedMap<HostPattern, Arc<[Arc<Certificate>]>>,
        table: &RouteTable,
    ) -> Arc<CertificateIndex> {
        for (pattern, _, chosen) in table.certificates.changes(before) {
            let set = chosen.map(|chosen| self.set(table.tls, chosen));
            index.set(pattern, set);
        }
        Arc::new(index)
    }

    fn set(&mut self, policy: TlsPolicy, certificates: &[Arc<Certificate>]) -> Arc<CertificateSet> {
        let (mut ecdsa, mut rsa) = (None, None);
        for certificate in certificates {
            let slot = match certificate.key_kind {
                KeyKind::Ecdsa => &mut ecdsa,
                KeyKind::Rsa => &mut rsa,
            };
            *slot = Some(
                self.keys.of(Place(certificate.clone()), |Place(certificate)| Key::new(certificate.clone())),
            );
        }
        self.sets(policy).of(ecdsa, rsa)
    }

    /// The sets under a policy; there are no more policies than classes had.
    fn sets(&mut self, policy: TlsPolicy) -> &mut Sets {
        let usual = &self.usual;
        self.sets.entry(policy).or_insert_with(|| Sets::new(usual.under(policy)))
    }
}

fn self_signed() -> Result<Certificate, rcgen::Error> {
    let made = rcgen::generate_simple_self_signed(["edgelb.invalid".to_owned()])?;
    Ok(Certificate {
        secret: ObjectRef::new(Kind::Secret, "", "self-signed"),
        chain: Arc::from([Box::from(made.cert.der().as_ref())]),
        key: made.signing_key.serialize_der().into(),
        key_kind: KeyKind::Ecdsa,
        staple: None,
        dns_names: Vec::new(),
        not_before: 0,
        not_after: 0,
    })
}
