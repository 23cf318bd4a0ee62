//! On what terms handshakes are made: versions, cipher suites, protocols, tickets.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WantsServerCert};
use rustls::{ConfigBuilder, DEFAULT_VERSIONS};

use super::set::{KeyPair, SetId};
use super::tickets::Tickets;

/// Protocols offered by ALPN, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What the configurations of all sets have in common.
pub(super) struct Terms {
    builder: ConfigBuilder<ServerConfig, WantsServerCert>,
    tickets: Tickets,
}

impl Terms {
    pub(super) fn new(tickets: Tickets) -> Result<Self, rustls::Error> {
        let provider = Arc::<CryptoProvider>::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(DEFAULT_VERSIONS)?;
        Ok(Self { builder: builder.with_no_client_auth(), tickets })
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
