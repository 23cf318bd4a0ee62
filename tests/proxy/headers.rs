//! Headers as backends and clients see them.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::support::{Backend, Fixture, Http, Table, all_schemes, connect_tls, raw_exchange, request, text};

type Seen = Arc<Mutex<HeaderMap>>;

async fn recorder() -> (Backend, Seen) {
    let seen = Seen::default();
    let recorded = seen.clone();
    let backend = Backend::start(move |request| {
        *recorded.lock().expect("no panic before") = request.headers().clone();
        async {
            let mut response = Response::new(text("ok"));
            for (name, value) in [
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "close"),
                ("x-kept", "2"),
            ] {
                response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            response
        }
    })
    .await;
    (backend, seen)
}

fn header(seen: &Seen, name: &str) -> Vec<String> {
    let seen = seen.lock().expect("no panic before");
    seen.get_all(name).iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect()
}

#[tokio::test]
async fn backends_learn_who_asked_and_cannot_be_lied_to() {
    let (backend, seen) = recorder().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut forged = request("A.example.org:8080", "/");
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] {
        forged.headers_mut().append(name, HeaderValue::from_static("forged"));
    }
    Http::one(fixture.http()).await.send(forged).await;
    for (name, expected) in [
        ("host", &["A.example.org:8080"][..]),
        ("x-forwarded-host", &["A.example.org:8080"]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-forwarded-proto", &["http"]),
        ("x-real-ip", &["127.0.0.1"]),
        ("forwarded", &[]),
    ] {
        assert_eq!(header(&seen, name), expected, "{name}");
    }
    assert_eq!(header(&seen, "x-request-id")[0].len(), 32);
}

#[tokio::test]
async fn tls_shows_in_the_forwarded_protocol() {
    let (backend, seen) = recorder().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let stream = connect_tls(fixture.https(), "a.example.org", &[], all_schemes()).await;
    Http::one_over(stream).await.send(request("a.example.org", "/")).await;
    assert_eq!(header(&seen, "x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn hop_by_hop_headers_end_here_both_ways() {
    let (backend, seen) = recorder().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut sent = request("a", "/");
    for (name, value) in [
        ("connection", "x-mine, upgrade"),
        ("x-mine", "1"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("keep-alive", "1"),
        ("proxy-connection", "1"),
        ("te", "trailers, gzip"),
        ("x-kept", "1"),
    ] {
        sent.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let answer = Http::one(fixture.http()).await.send(sent).await;
    for name in ["x-mine", "upgrade", "http2-settings", "keep-alive", "proxy-connection"] {
        assert_eq!(header(&seen, name), [""; 0], "{name}");
    }
    assert_eq!((header(&seen, "te"), header(&seen, "x-kept")), (vec!["trailers".into()], vec!["1".into()]));
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!(answer.header("x-kept"), "2");
}

#[tokio::test]
async fn a_request_framed_twice_has_one_frame_behind_the_proxy() {
    let (backend, seen) = recorder().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for lengths in
        ["transfer-encoding: chunked\r\ncontent-length: 5", "content-length: 5\r\ntransfer-encoding: chunked"]
    {
        let request =
            format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lengths}\r\n\r\n0\r\n\r\n");
        let answer = raw_exchange(fixture.http(), request.as_bytes()).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            assert_eq!(header(&seen, "content-length"), [""; 0], "{lengths}");
        } else {
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
    }
}

#[tokio::test]
async fn responses_name_the_node_if_they_are_to() {
    let backend = Backend::start(|_| async {
        let response = Response::builder().header("x-served-by", "pod").header("server", "shop");
        response.body(text("ok")).expect("a response")
    })
    .await;
    let table = || Table::default().rule("a", "/", &[backend.address]).build();
    let set = |config: &mut lb_agent::l7::Config| {
        config.served_by = Some(HeaderValue::from_static("edge-1"));
    };
    for (fixture, own, passed) in
        [(Fixture::start_as(set, table()), "edge-1", "edge-1"), (Fixture::start(table()), "", "pod")]
    {
        let answer = Http::get(fixture.http(), "a", "/").await;
        assert_eq!((answer.header("x-served-by"), answer.header("server")), (passed, "shop"));
        let answer = Http::get(fixture.http(), "unknown", "/").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-served-by")), (404, own));
        assert_eq!((answer.header("server"), answer.header("via")), ("", ""));
    }
}
