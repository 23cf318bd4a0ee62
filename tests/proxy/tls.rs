//! Certificates: which one a name gets, by which kind of key, and from when on.

use std::sync::Arc;

use lb_agent::model::KeyKind::{Ecdsa, Rsa};
use lb_agent::model::{Certificate, CipherSuite, Staple, TlsPolicy, TlsVersion};
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite as Suite, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::{
    Backend, Fixture, Http, Table, all_schemes, certificate, connect_tls, exchanging_keys, identity,
    noting_staples, request, shown,
};

#[tokio::test]
async fn the_most_specific_name_gets_its_certificate() {
    let precise = certificate(Ecdsa, &["shop.example.org"]);
    let wildcard = certificate(Ecdsa, &["*.example.org"]);
    let any = certificate(Ecdsa, &["any.example.net"]);
    let table =
        || Table::default().certificate("shop.example.org", &precise).certificate("*.example.org", &wildcard);
    let fixture = Fixture::start(table().build());
    for (name, expected) in
        [("shop.example.org", &precise), ("SHOP.example.org", &precise), ("x.example.org", &wildcard)]
    {
        let stream = connect_tls(fixture.https(), name, &[], all_schemes()).await;
        assert_eq!(shown(&stream), identity(expected), "{name}");
    }
    let unknown = shown(&connect_tls(fixture.https(), "a.b.example.org", &[], all_schemes()).await);
    assert!(![identity(&precise), identity(&wildcard)].contains(&unknown), "the fallback is nobody's");
    fixture.publish(table().certificate("", &any).build());
    assert_eq!(
        shown(&connect_tls(fixture.https(), "a.b.example.org", &[], all_schemes()).await),
        identity(&any)
    );
}

#[tokio::test]
async fn the_client_decides_the_kind_of_key() {
    let (curve, rsa) = (certificate(Ecdsa, &["a.example.org"]), certificate(Rsa, &["a.example.org"]));
    let table = Table::default().certificate("a.example.org", &curve).certificate("a.example.org", &rsa);
    let fixture = Fixture::start(table.build());
    for (schemes, expected) in [
        (all_schemes(), &curve),
        (vec![SignatureScheme::ECDSA_NISTP256_SHA256], &curve),
        (vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256], &rsa),
    ] {
        let stream = connect_tls(fixture.https(), "a.example.org", &[], schemes.clone()).await;
        assert_eq!(shown(&stream), identity(expected), "{schemes:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_spares_old_ones() {
    let backend = Backend::says("ok").await;
    let (before, after) = (certificate(Ecdsa, &["a.example.org"]), certificate(Ecdsa, &["a.example.org"]));
    let with = |certificate| {
        Table::default().rule("", "/", &[backend.address]).certificate("a.example.org", certificate)
    };
    let fixture = Fixture::start(with(&before).build());
    let old = connect_tls(fixture.https(), "a.example.org", &["http/1.1"], all_schemes()).await;
    assert_eq!(shown(&old), identity(&before));
    let mut old = Http::one_over(old).await;
    assert_eq!(old.send(request("a.example.org", "/")).await.text(), "ok");
    fixture.publish(with(&after).build());
    let new = connect_tls(fixture.https(), "a.example.org", &["http/1.1"], all_schemes()).await;
    assert_eq!(shown(&new), identity(&after));
    assert_eq!(old.send(request("a.example.org", "/")).await.text(), "ok");
    assert_eq!(fixture.proxy.left().total(), 2);
}

#[tokio::test]
async fn the_host_header_and_not_the_name_picks_the_route() {
    let backend = Backend::says("b").await;
    let fixture = Fixture::start(Table::default().rule("b.example.org", "/", &[backend.address]).build());
    let stream = connect_tls(fixture.https(), "a.example.org", &["http/1.1"], all_schemes()).await;
    assert_eq!(Http::one_over(stream).await.send(request("b.example.org", "/")).await.text(), "b");
}

#[tokio::test]
async fn a_staple_is_shown_while_it_counts() {
    let far = 4_000_000_000;
    for (from, until, is_shown) in [(0, far, true), (0, 1_000, false), (far, far, false)] {
        let response: Arc<[u8]> = Arc::from(&b"an OCSP response"[..]);
        let staple = Some(Staple { response: response.clone(), from, until });
        let certificate =
            Certificate { staple, ..Certificate::clone(&certificate(Ecdsa, &["a.example.org"])) };
        let table = Table::default().certificate("a.example.org", &Arc::new(certificate));
        let fixture = Fixture::start(table.build());
        for version in [&TLS12, &TLS13] {
            let (client, verifier) = noting_staples(version);
            let stream = TcpStream::connect(fixture.https()).await.expect("connect");
            let name = ServerName::try_from("a.example.org").expect("a name");
            TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("handshake");
            let expected = if is_shown { response.to_vec() } else { Vec::new() };
            assert_eq!(verifier.staples(), [expected], "{from} {until} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_policy_says_what_handshakes_may_agree_on() {
    let certificate = certificate(Ecdsa, &["a.example.org"]);
    let table = || Table::default().certificate("a.example.org", &certificate);
    let fixture = Fixture::start(table().build());
    let agree = async |version| {
        let (client, _) = noting_staples(version);
        let stream = TcpStream::connect(fixture.https()).await.expect("connect");
        let name = ServerName::try_from("a.example.org").expect("a name");
        let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.ok()?;
        Some(stream.get_ref().1.negotiated_cipher_suite().expect("a suite").suite())
    };
    assert!(agree(&TLS12).await.is_some() && agree(&TLS13).await.is_some());
    fixture.publish(table().tls(TlsPolicy::from_version(TlsVersion::V1_3)).build());
    assert!(agree(&TLS12).await.is_none() && agree(&TLS13).await.is_some());
    let one = [CipherSuite::Chacha20Poly1305, CipherSuite::EcdsaAes128Gcm];
    fixture.publish(table().tls(TlsPolicy::new(TlsVersion::V1_2, one).expect("suites")).build());
    assert_eq!(agree(&TLS12).await, Some(Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256));
    assert_eq!(agree(&TLS13).await, Some(Suite::TLS13_CHACHA20_POLY1305_SHA256));
    fixture.publish(table().build());
    assert!(agree(&TLS12).await.is_some() && agree(&TLS13).await.is_some());
}

#[tokio::test]
async fn keys_are_exchanged_as_the_client_likes_best() {
    let fixture = Fixture::start(Table::default().build());
    // The first one resists quantum computers.
    for group in [X25519MLKEM768, X25519, SECP256R1, SECP384R1] {
        let stream = TcpStream::connect(fixture.https()).await.expect("connect");
        let name = ServerName::try_from("a.example.org").expect("a name");
        let client = TlsConnector::from(Arc::new(exchanging_keys(group)));
        let stream = client.connect(name, stream).await.expect("handshake");
        let found = stream.get_ref().1.negotiated_key_exchange_group().expect("a group");
        assert_eq!(found.name(), group.name());
    }
}
