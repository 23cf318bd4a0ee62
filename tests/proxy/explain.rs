//! What `explain` says of requests and handshakes is what becomes of them.

use lb_agent::l7::{Limits, Trust, explain};
use lb_agent::model::KeyKind::Ecdsa;
use lb_agent::model::{ListenerExplained, RequestAsked, Snapshot, TlsPolicy, TlsVersion, TreatmentExplained};
use serde_json::json;

use super::support::{
    Backend, Fixture, Http, Shop, Table, all_schemes, certificate, connect_tls, identity, request, shown,
};

fn asked(host: &str, path: &str) -> RequestAsked {
    RequestAsked {
        host: host.to_owned(),
        path: path.to_owned(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        sni: None,
        from: None,
        to: None,
    }
}

fn explained(snapshot: &Snapshot, host: &str, path: &str) -> Vec<ListenerExplained> {
    explain(snapshot, &asked(host, path), (&Trust::default(), &Limits::default()))
        .expect("a request")
        .listeners
}

#[tokio::test]
async fn a_request_goes_where_its_explanation_says() {
    let (root, exact) = (Backend::says("/").await, Backend::says("/cart").await);
    let (wild, fallback) = (Backend::says("/wild").await, Backend::says("default").await);
    let table = Table::default()
        .rule("a.org", "/", &[root.address])
        .exact("a.org", "/cart", &[exact.address])
        .rule("*.org", "/wild", &[wild.address])
        .rule("b.org", "/x/y", &[root.address])
        .default_backend("", &[fallback.address])
        .build();
    let snapshot = Fixture::snapshot(&table);
    let fixture = Fixture::start(table);
    let mut client = Http::one(fixture.http()).await;
    for (host, path) in [
        ("a.org", "/cart"),
        ("A.ORG:80", "/cart/"),
        ("a.org", "/%63art?x"),
        ("c.org", "/wild/x"),
        ("c.org", "/else"),
        ("b.org", "/x%2Fy"),
        ("b.org", "/x/./y"),
        ("c.com", "/"),
    ] {
        let answer = client.send(request(host, path)).await;
        let [listener, ..] = &explained(&snapshot, host, path)[..] else { panic!("no listener") };
        match &listener.reply {
            Some(reply) => {
                assert_eq!(answer.status, reply.status, "{host} {path}");
                assert_eq!(answer.text().lines().next(), Some(&*reply.text));
            }
            None => {
                let service = listener.backend.as_ref().expect("a backend").service.clone();
                assert_eq!(format!("shop/{}:80", answer.text()), service, "{host} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_shows_the_certificate_that_its_explanation_names() {
    let (precise, wildcard) = (certificate(Ecdsa, &["a.org"]), certificate(Ecdsa, &["*.org"]));
    let any = certificate(Ecdsa, &["any.net"]);
    let table = Table::default()
        .certificate("a.org", &precise)
        .certificate("*.org", &wildcard)
        .certificate("", &any)
        .build();
    let snapshot = Fixture::snapshot(&table);
    let fixture = Fixture::start(table);
    for name in ["a.org", "A.org", "b.org", "x.b.org", "a.com"] {
        let seen = shown(&connect_tls(fixture.https(), name, &[], all_schemes()).await);
        let listeners = explained(&snapshot, name, "/");
        let told = listeners.iter().find_map(|listener| listener.certificate.as_ref()).expect("TLS");
        let all = [&precise, &wildcard, &any];
        let found = all.iter().find(|one| identity(one) == seen).expect("one of them");
        assert_eq!(told.offered[0].secret, found.secret.to_string(), "{name}");
    }
}

#[tokio::test]
async fn who_connects_for_another_host_is_told_what_http2_says() {
    let backend = Backend::says("ok").await;
    let (one, other) = (certificate(Ecdsa, &["*.example.org"]), certificate(Ecdsa, &["own.example.org"]));
    let table = Table::default()
        .rule("", "/", &[backend.address])
        .certificate("*.example.org", &one)
        .certificate("own.example.org", &other)
        .tls(TlsPolicy::from_version(TlsVersion::V1_3))
        .build();
    let snapshot = Fixture::snapshot(&table);
    let fixture = Fixture::start(table);
    for (sni, host) in [
        ("a.example.org", "a.example.org"),
        ("a.example.org", "B.example.org:443"),
        ("a.example.org", "own.example.org"),
        ("own.example.org", "a.example.org"),
    ] {
        let asked = RequestAsked { sni: Some(sni.to_owned()), ..asked(host, "/") };
        let listeners =
            explain(&snapshot, &asked, (&Trust::default(), &Limits::default())).expect("a request").listeners;
        let told = listeners.iter().find(|listener| listener.protocol == "https").expect("TLS");
        assert_eq!(told.tls.as_ref().expect("TLS").versions, ["1.3"]);
        let clear = listeners.iter().find(|listener| listener.protocol == "http").expect("in the clear");
        assert_eq!((&clear.tls, &clear.on_http2), (&None, &None));
        let stream = connect_tls(fixture.https(), sni, &["h2"], all_schemes()).await;
        let mut request = request(host, "/");
        *request.uri_mut() = format!("https://{host}/").parse().expect("a URI");
        request.headers_mut().clear();
        let answer = Http::two_over(stream).await.send(request).await;
        match &told.on_http2 {
            Some(reply) => assert_eq!((answer.status.as_u16(), reply.status), (421, 421), "{host} by {sni}"),
            None => assert_eq!(answer.status, 200, "{host} by {sni}"),
        }
        assert!(told.reply.is_none(), "with HTTP/1.1 it is forwarded");
    }
}

#[tokio::test]
async fn workers_say_what_they_know_of_endpoints() {
    let backend = Backend::says("ok").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let observer = fixture.proxy.observer();
    assert!(observer.endpoints(&[backend.address]).await.is_empty(), "nobody was sent there");
    Http::get(fixture.http(), "a", "/").await;
    let known = observer.endpoints(&[backend.address]).await;
    let state = known.get(&backend.address).expect("it is known");
    assert_eq!((state.known_by, state.ejected_by, state.requests, state.idle), (1, 0, 0, 1));
}

#[tokio::test]
async fn how_an_endpoint_gets_a_request_is_what_its_explanation_says() {
    let service = json!({
        "edgelb.dev/load-balance": "round_robin",
        "edgelb.dev/sticky": "cookie=shop, same-site=Lax",
        "edgelb.dev/timeouts": "try=200ms, request=1s, read=5s",
        "edgelb.dev/retries": "tries=3, within=2s, on=connect timeout 503",
        "edgelb.dev/limits": "endpoint-requests=7, pending-time=300ms",
        "edgelb.dev/health-check": "path=/healthz, interval=60s",
        "edgelb.dev/ejection": "failures=3, share=10",
    });
    let pods = [Backend::says("one").await, Backend::says("two").await];
    let site = Shop::of(service).open(&pods.each_ref()).await;
    assert_eq!(site.problems, Vec::<String>::new());
    let told = |method: &str| {
        let asked = RequestAsked { method: method.to_owned(), ..asked("a", "/x") };
        let limits = Limits::default().with("pending-requests=9".parse().expect("a setting"));
        let explained = explain(site.snapshot(), &asked, (&Trust::default(), &limits)).expect("a request");
        let [clear, ..] = &explained.listeners[..] else { panic!("no listener") };
        clear.backend.clone().expect("a backend").treatment.expect("it is told")
    };
    let expected = TreatmentExplained {
        load_balance: "round_robin".to_owned(),
        sticky: Some("shop=...; Path=/; HttpOnly; SameSite=Lax".to_owned()),
        connect: 5_000,
        attempt: 200,
        request: 1_000,
        send: 200,
        read: Some(5_000),
        tries: 3,
        within: Some(2_000),
        retried_on: ["connect", "timeout", "503"].map(str::to_owned).into(),
        endpoint_requests: 7,
        pending_requests: 9,
        pending_time: 300,
        health_check: Some(
            "GET /healthz every 60s within 1s, status 200-399; 3 bad ones in a row, 2 good ones".to_owned(),
        ),
        ejection: Some(
            "after 3 failures in a row, for 10s and longer each time, up to 300s; 10 % at most".to_owned(),
        ),
        ..TreatmentExplained::default()
    };
    assert_eq!(told("GET"), expected);
    let once = TreatmentExplained { tries: 1, retried_on: vec!["connect".to_owned()], ..expected };
    assert_eq!(told("POST"), once);
    let cookie = Http::get(site.http(), "a", "/x").await.header("set-cookie").to_owned();
    let (name, rest) = cookie.split_at("shop=".len());
    assert_eq!(format!("{name}...{}", &rest[16..]), once.sticky.expect("a cookie"));
}
