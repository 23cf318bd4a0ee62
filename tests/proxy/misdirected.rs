//! Requests on a connection that was made for another host (RFC 9113, 9.1.1 and 9.1.2).

use lb_agent::model::Certificate;
use lb_agent::model::KeyKind::{Ecdsa, Rsa};

use super::support::{Backend, Fixture, Http, Table, all_schemes, certificate, connect_tls, request};

/// Connects for a name, and asks for each host: what status comes.
async fn check(fixture: &Fixture, alpn: &str, name: &str, expected: &[(&str, u16)]) {
    let stream = connect_tls(fixture.https(), name, &[alpn], all_schemes()).await;
    let mut client = if alpn == "h2" { Http::two_over(stream).await } else { Http::one_over(stream).await };
    for &(host, status) in expected {
        assert_eq!(ask(&mut client, host).await, status, "{alpn}: {host} by {name}");
    }
}

async fn ask(client: &mut Http, host: &str) -> u16 {
    let request = match client {
        Http::One(_) => request(host, "/"),
        Http::Two(_) => {
            let (mut parts, body) = request(host, "/").into_parts();
            parts.uri = format!("https://{host}/").parse().expect("a URI");
            parts.headers.clear();
            http::Request::from_parts(parts, body)
        }
    };
    client.send(request).await.status.as_u16()
}

#[tokio::test]
async fn a_host_with_other_certificates_needs_its_own_connection() {
    let backend = Backend::says("ok").await;
    let wildcard = certificate(Ecdsa, &["*.example.org"]);
    let copied = std::sync::Arc::new(Certificate::clone(&wildcard));
    let (own, rsa) = (certificate(Ecdsa, &["own.example.org"]), certificate(Rsa, &["two.example.org"]));
    let table = Table::default()
        .rule("", "/", &[backend.address])
        .certificate("*.example.org", &wildcard)
        .certificate("copied.example.net", &copied)
        .certificate("own.example.org", &own)
        .certificate("two.example.org", &wildcard)
        .certificate("two.example.org", &rsa);
    let fixture = Fixture::start(table.build());
    let of_wildcard = [
        ("a.example.org", 200),
        ("A.example.org:443", 200),
        ("b.example.org", 200),
        ("copied.example.net", 200),
        ("own.example.org", 421),
        // One more kind of key is another set: clients might see either.
        ("two.example.org", 421),
        ("nobody.example.net", 421),
        ("a.example.org", 200),
    ];
    check(&fixture, "h2", "a.example.org", &of_wildcard).await;
    check(&fixture, "h2", "own.example.org", &[("own.example.org", 200), ("a.example.org", 421)]).await;
    let of_fallback = [("x.example.net", 200), ("y.example.net", 200), ("own.example.org", 421)];
    check(&fixture, "h2", "x.example.net", &of_fallback).await;
    let all: Vec<_> = of_wildcard.iter().map(|(host, _)| (*host, 200)).collect();
    check(&fixture, "http/1.1", "a.example.org", &all).await;
    // Who connects to an address asks for no name.
    check(&fixture, "h2", "127.0.0.1", &all).await;
    let misdirected = fixture.metric("lb_l7_replies_total{reason=\"misdirected\"}");
    assert_eq!(misdirected, 5);
}

#[tokio::test]
async fn the_certificates_of_now_decide() {
    let backend = Backend::says("ok").await;
    let [one, other] = [Ecdsa, Ecdsa].map(|kind| certificate(kind, &["*.example.org"]));
    let table = |certificates: [&std::sync::Arc<Certificate>; 2]| {
        let table = Table::default().rule("", "/", &[backend.address]);
        let table = table.certificate("a.example.org", certificates[0]);
        table.certificate("b.example.org", certificates[1]).build()
    };
    let fixture = Fixture::start(table([&one, &one]));
    let stream = connect_tls(fixture.https(), "a.example.org", &["h2"], all_schemes()).await;
    let mut client = Http::two_over(stream).await;
    for (certificates, status) in [([&one, &one], 200), ([&one, &other], 421), ([&other, &other], 200)] {
        fixture.publish(table(certificates));
        assert_eq!(ask(&mut client, "b.example.org").await, status);
        assert_eq!(ask(&mut client, "a.example.org").await, 200, "a renewed certificate breaks nothing");
    }
}
