//! TLS towards clients: which certificate answers which name, and what is kept from one snapshot to the next.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::model::{Certificate, Host, HostPattern, KeyKind, ObjectRef, SharedMap};

/// Protocols offered by ALPN, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Sessions that clients without tickets can resume.
const SESSIONS: usize = 10_240;

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
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    fallback: Arc<CertifiedKey>,
    /// Parsed keys by Secret, so that a change of one does not read the others again.
    keys: HashMap<ObjectRef, ParsedKey, RandomState>,
}

struct ParsedKey {
    source: Arc<Certificate>,
    key: Option<Arc<CertifiedKey>>,
    used: bool,
}

impl Tls {
    /// With a fallback certificate of its own.
    pub(super) fn new() -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let fallback = Arc::new(self_signed(&provider)?);
        let tickets = aws_lc_rs::Ticketer::new()?;
        let sessions = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self { provider, tickets, sessions, fallback, keys: HashMap::default() })
    }

    /// A configuration that answers with these certificates.
    pub(super) fn server_config(
        &mut self,
        certificates: &SharedMap<HostPattern, Arc<[Arc<Certificate>]>>,
    ) -> Arc<ServerConfig> {
        let resolver = Arc::new(self.index(certificates));
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        // The provider supports both versions: this cannot fail with a provider that `new` could use.
        let mut config = match builder.with_protocol_versions(rustls::DEFAULT_VERSIONS) {
            Ok(builder) => builder.with_no_client_auth().with_cert_resolver(resolver),
            Err(_) => ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver),
        };
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config.ticketer = self.tickets.clone();
        config.session_storage = self.sessions.clone();
        // One ticket: most clients keep one, and each costs bytes and an encryption.
        config.send_tls13_tickets = 1;
        Arc::new(config)
    }

    /// Drops the keys that no configuration made since the last call has asked for.
    pub(super) fn forget_unused(&mut self) {
        self.keys.retain(|_, key| std::mem::take(&mut key.used) || Arc::strong_count(&key.source) > 1);
    }

    fn index(&mut self, certificates: &SharedMap<HostPattern, Arc<[Arc<Certificate>]>>) -> CertificateIndex {
        let mut index = CertificateIndex::new(self.fallback.clone());
        for (pattern, certificates) in certificates {
            let pair = self.pair(certificates);
            match pattern {
                HostPattern::Precise(name) => drop(index.precise.insert(name.as_str().into(), pair)),
                HostPattern::Wildcard(parent) => drop(index.wildcard.insert(parent.as_str().into(), pair)),
                HostPattern::Any => index.any = pair,
            }
        }
        index
    }

    fn pair(&mut self, certificates: &[Arc<Certificate>]) -> KeyPair {
        let mut pair = KeyPair::default();
        for certificate in certificates {
            let slot = match certificate.key_kind {
                KeyKind::Ecdsa => &mut pair.ecdsa,
                KeyKind::Rsa => &mut pair.rsa,
            };
            *slot = self.key(certificate);
        }
        pair
    }

    fn key(&mut self, certificate: &Arc<Certificate>) -> Option<Arc<CertifiedKey>> {
        if let Some(known) = self.keys.get_mut(&certificate.secret)
            && known.source == *certificate
        {
            // The newer of two equal ones is the one that stays in use.
            known.source = certificate.clone();
            known.used = true;
            return known.key.clone();
        }
        let key = parse(&self.provider, certificate)
            .inspect_err(|error| {
                tracing::warn!(secret = %certificate.secret, %error, "certificate cannot be used");
            })
            .ok()
            .map(Arc::new);
        let parsed = ParsedKey { source: certificate.clone(), key: key.clone(), used: true };
        self.keys.insert(certificate.secret.clone(), parsed);
        key
    }
}

/// At most one certificate per kind of key.
#[derive(Clone, Default, Debug)]
struct KeyPair {
    ecdsa: Option<Arc<CertifiedKey>>,
    rsa: Option<Arc<CertifiedKey>>,
}

/// Certificates by the name that a client asks for.
struct CertificateIndex {
    precise: HashMap<Box<str>, KeyPair, RandomState>,
    wildcard: HashMap<Box<str>, KeyPair, RandomState>,
    any: KeyPair,
    fallback: Arc<CertifiedKey>,
}

impl CertificateIndex {
    fn new(fallback: Arc<CertifiedKey>) -> Self {
        Self { precise: HashMap::default(), wildcard: HashMap::default(), any: KeyPair::default(), fallback }
    }

    /// The certificates of the most specific pattern.
    fn find(&self, name: &str) -> &KeyPair {
        self.precise.get(name).or_else(|| self.wildcard.get(Host::parent_of(name)?)).unwrap_or(&self.any)
    }
}

impl KeyPair {
    /// The elliptic curve where the client can verify it: it is cheaper for both. A client that can verify
    /// neither gets what is there, and says so itself.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<CertifiedKey>> {
        let verifiable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let both = || self.ecdsa.iter().chain(&self.rsa);
        both().find(verifiable).or_else(|| both().next())
    }
}

impl ResolvesServerCert for CertificateIndex {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = Host::normalise(hello.server_name().unwrap_or_default());
        let key = self.find(&name).choose(&hello).or_else(|| self.any.choose(&hello));
        Some(key.unwrap_or(&self.fallback).clone())
    }
}

impl fmt::Debug for CertificateIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.precise.len() + self.wildcard.len();
        f.debug_struct("CertificateIndex").field("hosts", &count).finish_non_exhaustive()
    }
}

fn parse(provider: &CryptoProvider, certificate: &Certificate) -> Result<CertifiedKey, rustls::Error> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::try_from(certificate.key.0.clone())
        .map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    CertifiedKey::from_der(chain, key, provider)
}

fn self_signed(provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let made = rcgen::generate_simple_self_signed(["edgelb.invalid".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    Ok(CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider)?)
}
