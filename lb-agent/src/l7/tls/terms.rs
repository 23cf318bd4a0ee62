//! On what terms handshakes are made: versions, cipher suites, protocols, tickets.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::{NoServerSessionStorage, WantsServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::set::{KeyPair, SetId};
use super::tickets::Tickets;
use crate::model::{CipherSuite, TlsPolicy, TlsVersion};

/// Protocols offered by ALPN, the preferred one first.
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// What the configurations of all sets have in common.
pub(super) struct Terms {
    builder: ConfigBuilder<ServerConfig, WantsServerCert>,
    tickets: Tickets,
}

impl Terms {
    /// With what a policy allows.
    pub(super) fn new(policy: TlsPolicy, tickets: Tickets) -> Result<Self, rustls::Error> {
        let cipher_suites = policy.suites().map(suite).collect();
        let provider = Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() });
        let versions: Vec<_> =
            TlsVersion::ALL.into_iter().filter(|version| policy.offers(*version)).map(version).collect();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
        Ok(Self { builder: builder.with_no_client_auth(), tickets })
    }

    /// The same with what another policy allows.
    pub(super) fn under(self: &Arc<Self>, policy: TlsPolicy) -> Arc<Self> {
        match Self::new(policy, self.tickets.clone()) {
            Ok(terms) => Arc::new(terms),
            // A policy has a suite at least: there is nothing else that the library could miss.
            Err(error) => {
                tracing::error!(%error, ?policy, "the TLS policy cannot be had");
                self.clone()
            }
        }
    }

    /// For handshakes in which the set with this id answers.
    pub(super) fn config(&self, id: SetId, keys: Arc<KeyPair>) -> Arc<ServerConfig> {
        let mut config = self.builder.clone().with_cert_resolver(keys);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config.ticketer = self.tickets.bound_to(id);
        // What no other node knows is no use to a client, and a lock among the workers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // One ticket: most clients keep one, and each costs bytes and an encryption.
        config.send_tls13_tickets = 1;
        // 0-RTT data can be played a second time, and on another node nobody would notice.
        config.max_early_data_size = 0;
        Arc::new(config)
    }
}

const fn version(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V1_2 => &TLS12,
        TlsVersion::V1_3 => &TLS13,
    }
}

const fn suite(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Chacha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaChacha20Poly1305 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaChacha20Poly1305 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_library_has_its_name_here() {
        let mut own: Vec<String> =
            CipherSuite::ALL.map(|own| format!("{:?} {}", suite(own).suite(), own.version())).into();
        let library = |suite: &SupportedCipherSuite| {
            let version = if suite.tls13().is_some() { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
            format!("{:?} {version}", suite.suite())
        };
        let mut all: Vec<String> = aws_lc_rs::ALL_CIPHER_SUITES.iter().map(library).collect();
        own.sort();
        all.sort();
        assert_eq!(own, all);
        for own in CipherSuite::ALL {
            let name = format!("{:?}", suite(own).suite()).replace("TLS13_", "TLS_");
            assert_eq!(name, own.name());
        }
    }
}
