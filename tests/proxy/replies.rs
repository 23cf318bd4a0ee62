//! Every reply that the proxy makes by itself, with its cause.

use lb_agent::model::Unavailable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Backend, Fixture, Http, RawBackend, Table, raw_exchange, read_head, request};

async fn check(fixture: &Fixture, status: u16, reason: &str) {
    let answer = Http::get(fixture.http(), "a.example.org", "/").await;
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().starts_with(&status.to_string()), "{}", answer.text());
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(fixture.metric(&format!("lb_l7_replies_total{{reason=\"{reason}\"}}")), 1);
}

#[tokio::test]
async fn unavailable_backends_say_so() {
    for (why, status, reason) in [
        (Unavailable::NoService, 503, "unavailable"),
        (Unavailable::NoPort, 503, "unavailable"),
        (Unavailable::NoEndpoint, 503, "unavailable"),
        (Unavailable::ExternalName, 503, "unavailable"),
        (Unavailable::Unsupported, 500, "unsupported"),
    ] {
        check(&Fixture::start(Table::all_unavailable(why)), status, reason).await;
    }
}

#[tokio::test]
async fn an_answer_has_the_form_that_is_asked_for_and_the_id_of_the_request() {
    let fixture = Fixture::start(Table::default().build());
    for (accept, kind, part) in [
        (
            "",
            "text/plain; charset=utf-8",
            "404 not found: no route for this host and path\nrequest id: r-1\n",
        ),
        ("application/json", "application/json", "\"status\":404,"),
        ("application/json", "application/json", "\"request_id\":\"r-1\"}"),
        ("application/problem+json", "application/problem+json", "\"title\":\"Not Found\""),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", "<code>r-1</code>"),
    ] {
        for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
            let mut asked = request("a.example.org", "/");
            *asked.uri_mut() = "http://a.example.org/".parse().expect("a URI");
            asked.headers_mut().insert("accept", accept.parse().expect("a value"));
            asked.headers_mut().insert("x-request-id", "r-1".parse().expect("a value"));
            let answer = client.send(asked).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (404, kind));
            assert_eq!((answer.header("vary"), answer.header("x-request-id")), ("accept", "r-1"));
            assert!(answer.text().contains(part), "{part:?} in {}", answer.text());
        }
    }
}

#[tokio::test]
async fn an_answer_to_head_has_its_headers_alone() {
    let fixture = Fixture::start(Table::default().build());
    let head = |accept: &str| {
        format!(
            "HEAD / HTTP/1.1\r\nhost: a\r\nx-request-id: r-1\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        )
    };
    let get = Http::get(fixture.http(), "a", "/").await;
    let answer = raw_exchange(fixture.http(), head("*/*").as_bytes()).await;
    let length = get.body.len() + "r-1".len() - get.header("x-request-id").len();
    assert!(answer.contains(&format!("\r\ncontent-length: {length}\r\n")), "{answer}");
    let page = raw_exchange(fixture.http(), head("text/html").as_bytes()).await;
    assert!(page.contains("\r\ncontent-type: text/html; charset=utf-8\r\n"), "{page}");
    assert!([answer, page].iter().all(|answer| answer.ends_with("\r\n\r\n")), "no body");
    // A client of HTTP/2 takes a body for a breach of the protocol.
    let mut asked = request("a", "/");
    (*asked.method_mut(), *asked.uri_mut()) = (http::Method::HEAD, "http://a/".parse().expect("a URI"));
    let answer = Http::two(fixture.http()).await.send(asked).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-length")),
        (404, &*get.body.len().to_string())
    );
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn what_is_refused_before_it_is_read_has_an_id_too() {
    let fixture = Fixture::start(Table::default().build());
    let answer = raw_exchange(fixture.http(), b"GET / HTTP/1.1\r\nhost : a\r\n\r\n").await;
    let id = answer.split("\r\nx-request-id: ").nth(1).expect("an id").split("\r\n").next().expect("its end");
    assert!(answer.ends_with(&format!("malformed\nrequest id: {id}\n")), "{answer}");
}

#[tokio::test]
async fn no_route_is_404() {
    check(&Fixture::start(Table::default().build()), 404, "no_route").await;
}

/// A body that came with its head does not cost the connection, and with it a handshake.
#[tokio::test]
async fn who_is_refused_with_a_body_may_go_on() {
    let fixture = Fixture::start(Table::default().build());
    for framing in
        ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "content-length: 5\r\n\r\nhello"]
    {
        let post = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}");
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        for _ in 0..3 {
            client.write_all(post.as_bytes()).await.expect("sent");
            let head = read_head(&mut client).await;
            let head = String::from_utf8_lossy(&head).to_lowercase();
            assert!(head.starts_with("http/1.1 404 ") && !head.contains("connection: close"), "{head}");
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let mut body = vec![0; length.expect("a length")];
            client.read_exact(&mut body).await.expect("a body");
        }
    }
}

#[tokio::test]
async fn endpoints_that_refuse_are_502() {
    let (gone, gone_too) = (Backend::says("").await.address, Backend::says("").await.address);
    check(&Fixture::start(Table::all_to(&[gone, gone_too])), 502, "connect_failed").await;
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_504() {
    let silent = RawBackend::start(|_, mut stream| async move {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all).await);
    })
    .await;
    check(&Fixture::start_quick(Table::all_to(&[silent.address])), 504, "response_timeout").await;
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let backend = Backend::says("reached").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (head, status) in [
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", 400),
        ("GET /x/../y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("GET /x/%2E%2e/y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\nconnection: close\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("garbage\r\n\r\n", 400),
    ] {
        let answer = raw_exchange(fixture.http(), head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?} got {answer:?}");
    }
    assert_eq!(backend.requests(), 0, "nothing of it reached the backend");
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let backend = RawBackend::start(|_, mut stream| async move {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all).await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for chunks in ["0x3\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\nabc", "3\r\nabcXX0\r\n\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let answer = raw_exchange(fixture.http(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?} got {answer:?}");
    }
    assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"bad_body\"}"), 3);
}

#[tokio::test]
async fn absolute_form_and_old_requests_are_served() {
    let backend = Backend::says("reached").await;
    let table = Table::default().rule("a", "/x", &[backend.address]).rule("", "/old", &[backend.address]);
    let fixture = Fixture::start(table.build());
    for head in
        ["GET http://a/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "GET /old HTTP/1.0\r\n\r\n"]
    {
        let answer = raw_exchange(fixture.http(), head.as_bytes()).await;
        assert!(answer.contains(" 200 ") && answer.ends_with("reached"), "{head:?} got {answer:?}");
    }
}

#[tokio::test]
async fn the_clients_own_request_id_is_kept() {
    let fixture = Fixture::start(Table::default().build());
    let mut own = request("a", "/");
    own.headers_mut().insert("x-request-id", http::HeaderValue::from_static("trace-1"));
    assert_eq!(Http::one(fixture.http()).await.send(own).await.header("x-request-id"), "trace-1");
}
