//! TLS towards clients: versions, cipher suites, and which of them are allowed.

use std::fmt;

/// A version of TLS that clients may speak. The order is that of their age.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V1_2, Self::V1_3];

    /// As objects and metrics have it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A cipher suite that is built in: all of them have forward secrecy and authenticated encryption.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CipherSuite {
    /// Of TLS 1.3.
    Aes256Gcm,
    /// Of TLS 1.3.
    Aes128Gcm,
    /// Of TLS 1.3.
    Chacha20Poly1305,
    /// Of TLS 1.2, with an elliptic curve's certificate.
    EcdsaAes256Gcm,
    /// As the one before.
    EcdsaAes128Gcm,
    /// As the one before.
    EcdsaChacha20Poly1305,
    /// Of TLS 1.2, with an RSA certificate.
    RsaAes256Gcm,
    /// As the one before.
    RsaAes128Gcm,
    /// As the one before.
    RsaChacha20Poly1305,
}

impl CipherSuite {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Aes256Gcm,
        Self::Aes128Gcm,
        Self::Chacha20Poly1305,
        Self::EcdsaAes256Gcm,
        Self::EcdsaAes128Gcm,
        Self::EcdsaChacha20Poly1305,
        Self::RsaAes256Gcm,
        Self::RsaAes128Gcm,
        Self::RsaChacha20Poly1305,
    ];

    /// By its name in IANA's registry.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Its name in IANA's registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::Chacha20Poly1305 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::EcdsaAes256Gcm => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdsaChacha20Poly1305 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::RsaAes256Gcm => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::RsaAes128Gcm => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::RsaChacha20Poly1305 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }

    /// The version that it belongs to.
    #[must_use]
    pub const fn version(self) -> TlsVersion {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm | Self::Chacha20Poly1305 => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The cipher suites that a listener offers, at least one; and by them the versions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TlsPolicy(u16);

impl TlsPolicy {
    /// Of these suites, those of this version or a newer one; `None` if there are none of them.
    #[must_use]
    pub fn new(least: TlsVersion, suites: impl IntoIterator<Item = CipherSuite>) -> Option<Self> {
        let allowed = suites.into_iter().filter(|suite| suite.version() >= least);
        let bits = allowed.fold(0, |bits, suite| bits | suite.bit());
        (bits != 0).then_some(Self(bits))
    }

    /// All suites of this version and newer ones.
    #[must_use]
    pub fn from_version(least: TlsVersion) -> Self {
        Self::new(least, CipherSuite::ALL).unwrap_or_default()
    }

    /// Those that are offered.
    pub fn suites(self) -> impl Iterator<Item = CipherSuite> {
        CipherSuite::ALL.into_iter().filter(move |suite| self.0 & suite.bit() != 0)
    }

    /// Whether a version is offered.
    #[must_use]
    pub fn offers(self, version: TlsVersion) -> bool {
        self.suites().any(|suite| suite.version() == version)
    }
}

impl Default for TlsPolicy {
    /// Everything.
    fn default() -> Self {
        Self(CipherSuite::ALL.iter().fold(0, |bits, suite| bits | suite.bit()))
    }
}
