//! Endpoints' certificates, verified by authorities that somebody names; and what is said of one that is not trusted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::Chain;

/// It is not said more often: endpoints are connected to again and again.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Verified {
    by: Arc<WebPkiServerVerifier>,
    said_at: Mutex<Option<Instant>>,
}

impl Verified {
    /// Trusts what these authorities have signed.
    pub(super) fn new(authorities: &Chain, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for authority in authorities.iter() {
            roots.add(CertificateDer::from(&**authority))?;
        }
        let by = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let by = by.map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { by, said_at: Mutex::default() })
    }

    fn say(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, error: &Error) {
        let mut said_at = self.said_at.lock().unwrap_or_else(PoisonError::into_inner);
        if said_at.is_some_and(|said| said.elapsed() < SILENCE) {
            return;
        }
        *said_at = Some(Instant::now());
        let parsed = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed);
        let (subject, issuer) = parsed
            .map(|parsed| (parsed.subject().to_string(), parsed.issuer().to_string()))
            .unwrap_or_default();
        let name = name.to_str();
        tracing::warn!(%name, subject, issuer, %error, "an endpoint's certificate is not trusted");
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.by.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.inspect_err(|error| self.say(end_entity, server_name, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by.supported_verify_schemes()
    }
}
