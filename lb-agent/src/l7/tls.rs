//! TLS towards clients: which certificate answers which name, and what is kept from one snapshot to the next.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use super::host_map::HostMap;
use super::kept::Kept;
use crate::model::{Certificate, Host, HostPattern, KeyKind, SharedMap};

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
    keys: Kept<Certificate, Key>,
}

/// Certificates by host, as the model has them.
pub(super) type Certificates = SharedMap<HostPattern, Arc<[Arc<Certificate>]>>;

/// How a listener answers handshakes.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// For handshakes.
    pub(super) config: Arc<ServerConfig>,
    index: Arc<CertificateIndex>,
}

impl Tls {
    /// With a fallback certificate of its own.
    pub(super) fn new() -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let fallback = Arc::new(self_signed(&provider)?);
        let tickets = aws_lc_rs::Ticketer::new()?;
        let sessions = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self { provider, tickets, sessions, fallback, keys: Kept::default() })
    }

    /// Answers with these certificates.
    pub(super) fn answers(&mut self, certificates: &Certificates) -> Answers {
        let none = CertificateIndex::new(self.provider.clone(), self.fallback.clone());
        self.answer_with(none, &Certificates::default(), certificates)
    }

    /// Answers with these certificates, where `answers` did with those `before`: only what differs is made.
    pub(super) fn follow(
        &mut self,
        answers: &Answers,
        before: &Certificates,
        certificates: &Certificates,
    ) -> Answers {
        self.answer_with(CertificateIndex::clone(&answers.index), before, certificates)
    }

    /// Drops the keys that no configuration needs any more.
    pub(super) fn forget_unused(&mut self) {
        self.keys.forget_unused();
    }

    fn answer_with(
        &mut self,
        mut index: CertificateIndex,
        before: &Certificates,
        certificates: &Certificates,
    ) -> Answers {
        for (pattern, _, chosen) in certificates.changes(before) {
            let pair = chosen.map(|chosen| self.pair(chosen));
            match (pattern, pair) {
                (HostPattern::Precise(name), Some(pair)) => index.precise.insert(name, pair),
                (HostPattern::Precise(name), None) => index.precise.remove(name),
                (HostPattern::Wildcard(parent), Some(pair)) => index.wildcard.insert(parent, pair),
                (HostPattern::Wildcard(parent), None) => index.wildcard.remove(parent),
                (HostPattern::Any, pair) => index.any = pair.unwrap_or_default(),
            }
        }
        let index = Arc::new(index);
        Answers { config: self.config(index.clone()), index }
    }

    fn config(&self, resolver: Arc<CertificateIndex>) -> Arc<ServerConfig> {
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

    fn pair(&mut self, certificates: &[Arc<Certificate>]) -> KeyPair {
        let mut pair = KeyPair::default();
        for certificate in certificates {
            let slot = match certificate.key_kind {
                KeyKind::Ecdsa => &mut pair.ecdsa,
                KeyKind::Rsa => &mut pair.rsa,
            };
            *slot = Some(self.keys.of(certificate, |certificate| Key::new(certificate.clone())));
        }
        pair
    }
}

/// A certificate's key, parsed for the first handshake that asks for it: of ten thousand, few are asked for, and a
/// parsed one takes several times the memory. The source has seen that it can be used.
struct Key {
    certificate: Arc<Certificate>,
    parsed: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl Key {
    fn new(certificate: Arc<Certificate>) -> Self {
        Self { certificate, parsed: OnceLock::new() }
    }

    fn parsed(&self, provider: &CryptoProvider) -> Option<&Arc<CertifiedKey>> {
        let parse = || match parse(provider, &self.certificate) {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                tracing::warn!(secret = %self.certificate.secret, %error, "certificate cannot be used");
                None
            }
        };
        self.parsed.get_or_init(parse).as_ref()
    }
}

/// At most one certificate per kind of key.
#[derive(Clone, Default)]
struct KeyPair {
    ecdsa: Option<Arc<Key>>,
    rsa: Option<Arc<Key>>,
}

/// Certificates by the name that a client asks for.
#[derive(Clone)]
struct CertificateIndex {
    precise: HostMap<KeyPair>,
    wildcard: HostMap<KeyPair>,
    any: KeyPair,
    fallback: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl CertificateIndex {
    fn new(provider: Arc<CryptoProvider>, fallback: Arc<CertifiedKey>) -> Self {
        let (precise, wildcard) = (HostMap::default(), HostMap::default());
        Self { precise, wildcard, any: KeyPair::default(), fallback, provider }
    }

    /// The certificates of the most specific pattern.
    fn find(&self, name: &str) -> &KeyPair {
        self.precise.get(name).or_else(|| self.wildcard.get(Host::parent_of(name)?)).unwrap_or(&self.any)
    }
}

impl KeyPair {
    /// The elliptic curve where the client can verify it: it is cheaper for both. A client that can verify
    /// neither gets what is there, and says so itself.
    fn choose(&self, hello: &ClientHello<'_>, provider: &CryptoProvider) -> Option<&Arc<CertifiedKey>> {
        let verifiable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let both = || self.ecdsa.iter().chain(&self.rsa).filter_map(|key| key.parsed(provider));
        both().find(verifiable).or_else(|| both().next())
    }
}

impl ResolvesServerCert for CertificateIndex {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = Host::normalise(hello.server_name().unwrap_or_default());
        let provider = &self.provider;
        let key = self.find(&name).choose(&hello, provider).or_else(|| self.any.choose(&hello, provider));
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
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let key = PrivateKeyDer::try_from(certificate.key.0.to_vec())
        .map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    CertifiedKey::from_der(chain, key, provider)
}

fn self_signed(provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let made = rcgen::generate_simple_self_signed(["edgelb.invalid".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    Ok(CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider)?)
}
