//! Certificates: which Secrets are read, and what happens when one goes and comes back.

use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use lb_tests::cluster::Matching;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::process::Agent;
use super::requests::Requests;
use super::site::{HOST, Site, TLS};
use super::until;

/// Takes any certificate: these tests look at which one it is.
#[derive(Debug)]
struct Any(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that the agent shows for a host.
fn shown(agent: &Agent, host: &str) -> Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    let mut tcp = TcpStream::connect(agent.https)?;
    let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(tls.peer_certificates().and_then(<[_]>::first).context("a certificate")?.to_vec())
}

fn await_shown(agent: &Agent, host: &str, certificate: &[u8]) -> Result<()> {
    until(&format!("{host} has its certificate"), || {
        shown(agent, host).is_ok_and(|found| found == certificate)
    })
    .with_context(|| agent.log())
}

/// Deleted, a certificate is gone for its host alone; created again, it is live without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_may_go_and_come_back() -> Result<()> {
    let site = Site::start().await?;
    let kept = site.certificate("shop", "kept", &["kept.example.org"]).await?;
    site.ingress("shop", "kept", "kept.example.org", Some("kept")).await?;
    for profile in ["cluster", "named"] {
        let agent = site.agent(&["--secrets", profile])?;
        await_shown(&agent, "kept.example.org", &kept)?;
        let requests = Requests::start(agent.http, HOST);
        let before = shown(&agent, HOST)?;
        site.secrets().delete(TLS, &DeleteParams::default()).await?;
        until("it is gone", || !shown(&agent, HOST).is_ok_and(|found| found == before))?;
        let again = site.certificate("shop", TLS, &[HOST]).await?;
        await_shown(&agent, HOST, &again)?;
        await_shown(&agent, "kept.example.org", &kept)?;
        requests.all_answered()?;
        agent.stop()?;
    }
    Ok(())
}

/// A Secret that was of no use when the watch told of it is read by its name when an Ingress names it; others are
/// neither in memory nor stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_secrets_of_use_are_kept() -> Result<()> {
    let site = Site::start().await?;
    let late = site.certificate("shop", "late", &["late.example.org"]).await?;
    site.certificate("shop", "foreign", &["foreign.example.org"]).await?;
    let agent = site.agent(&[])?;
    ensure!(site.fault.count(&Matching::path("/secrets/late")) == 0, "nobody needs it yet");
    site.ingress("shop", "late", "late.example.org", Some("late")).await?;
    await_shown(&agent, "late.example.org", &late)?;
    ensure!(site.fault.count(&Matching::path("/secrets/late").watches(false)) == 1);
    let stored = site.folder.path().join("state/snapshot");
    let text = || std::fs::read_to_string(&stored).unwrap_or_default();
    until("it is stored", || text().contains("\"late\""))?;
    ensure!(!text().contains("foreign"), "what nobody names is not stored");
    ensure!(!agent.dump()?.to_string().contains("foreign"));
    Ok(())
}
