//! Handshakes that fail: each is closed, and counted by why.

use std::process::Command;
use std::sync::Arc;

use lb_agent::model::KeyKind::Ecdsa;
use lb_tests::installed;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::{Fixture, Table, all_schemes, certificate, eventually, run, source, tls_client};

const HOST: &str = "a.example.org";

fn fixture() -> Fixture {
    let table = Table::default().certificate(HOST, &certificate(Ecdsa, &[HOST]));
    Fixture::start_quick(table.build())
}

async fn check(fixture: &Fixture, reason: &str) {
    let line = format!("lb_l7_tls_handshake_failures_total{{reason=\"{reason}\"}}");
    eventually(reason, || fixture.metric(&line) == 1).await;
    eventually("nothing is left open", || fixture.proxy.left().total() == 0).await;
}

/// Sends bytes, and waits for the end.
async fn send(fixture: &Fixture, bytes: &[u8]) {
    let mut stream = TcpStream::connect(fixture.https()).await.expect("connect");
    stream.write_all(bytes).await.expect("send");
    drop(stream.read_to_end(&mut Vec::new()).await);
}

async fn connect(fixture: &Fixture, config: ClientConfig) {
    let name = ServerName::try_from(HOST).expect("a name");
    let stream = TcpStream::connect(fixture.https()).await.expect("connect");
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    assert!(connected.is_err());
}

/// A greeting of TLS 1.1, which knows no extensions.
fn hello_of_1_1() -> Vec<u8> {
    let body = [&[3, 2][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x13], &[1, 0]].concat();
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, handshake.len() as u8][..], &handshake].concat()
}

#[tokio::test]
async fn who_says_nothing_or_goes_is_counted() {
    let fixture = fixture();
    send(&fixture, b"").await;
    check(&fixture, "time_out").await;
    drop(TcpStream::connect(fixture.https()).await.expect("connect"));
    check(&fixture, "closed").await;
}

#[tokio::test]
async fn who_speaks_something_else_is_counted() {
    let fixture = fixture();
    send(&fixture, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    check(&fixture, "malformed").await;
    send(&fixture, &hello_of_1_1()).await;
    check(&fixture, "version").await;
}

#[tokio::test]
async fn who_has_nothing_in_common_with_us_is_counted() {
    let fixture = fixture();
    let rsa = vec![SignatureScheme::RSA_PSS_SHA256];
    connect(&fixture, tls_client(rustls::DEFAULT_VERSIONS, &[], rsa)).await;
    check(&fixture, "unsuited").await;
    connect(&fixture, tls_client(rustls::DEFAULT_VERSIONS, &["spdy/3"], all_schemes())).await;
    check(&fixture, "protocol").await;
}

#[tokio::test]
async fn who_refuses_the_certificate_is_counted() {
    let fixture = fixture();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let trusting_nobody = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    connect(&fixture, trusting_nobody).await;
    check(&fixture, "refused").await;
}

/// A handshake costs as much as thirty requests, and within a session no limit would count it.
#[tokio::test]
async fn a_session_is_not_negotiated_anew() {
    let fixture = fixture();
    let renegotiate = || Command::new(installed::tlslite().expect("tlslite-ng"));
    let said =
        run(renegotiate().arg(source("clients/renegotiate.py")).args([&fixture.https().to_string(), "2"]))
            .await;
    // The first request may have been made in good faith.
    assert_eq!(said.lines().collect::<Vec<_>>(), ["warning no_renegotiation", "closed"]);
    check_refused(&fixture, "renegotiation").await;
}

#[tokio::test]
async fn bytes_that_are_no_record_end_a_session_and_are_counted() {
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let fixture = fixture();
        let stream = TcpStream::connect(fixture.https()).await.expect("connect");
        let config = tls_client(&[version], &[], all_schemes());
        let name = ServerName::try_from(HOST).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
        let (mut stream, _) = stream.into_inner();
        // Nobody has the key for what this would be.
        stream.write_all(&[&[0x17, 3, 3, 0, 32][..], &[0; 32]].concat()).await.expect("sent");
        drop(stream.read_to_end(&mut Vec::new()).await);
        println!("TLS {label}");
        check_refused(&fixture, "tls_record").await;
    }
}

/// After its handshake, a connection is over for this reason.
async fn check_refused(fixture: &Fixture, reason: &str) {
    let line = format!("lb_l7_malformed_requests_total{{reason=\"{reason}\"}}");
    eventually(reason, || fixture.metric(&line) == 1).await;
    eventually("nothing is left open", || fixture.proxy.left().total() == 0).await;
}
