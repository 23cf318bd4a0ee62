//! A certificate chain with its private key, from a Secret of type `kubernetes.io/tls`.

use std::sync::Arc;

use super::{ObjectRef, SecretBytes};

/// The kind of a certificate's key: a host can have one of each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum KeyKind {
    /// Elliptic curve, Ed25519 included.
    Ecdsa,
    /// RSA.
    Rsa,
}

/// Certificates in DER, the leaf first; shared by its clones.
pub type Chain = Arc<[Box<[u8]>]>;

/// An OCSP response that says that a certificate is good; shared by its clones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Staple {
    /// In DER.
    pub response: Arc<[u8]>,
    /// Since when it says so, seconds since the Unix epoch.
    pub from: i64,
    /// Until when.
    pub until: i64,
}

/// A chain and a key that belong together (checked when they were read).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The Secret.
    pub secret: ObjectRef,
    /// The chain.
    pub chain: Chain,
    /// The leaf's key, in PKCS#8, PKCS#1 or SEC1 DER.
    pub key: SecretBytes,
    /// The leaf's kind of key.
    pub key_kind: KeyKind,
    /// What is shown beside it to clients that ask for it.
    pub staple: Option<Staple>,
    /// DNS names of the leaf, for people; which host it serves is up to the Ingress.
    pub dns_names: Vec<String>,
    /// Begin of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
}
