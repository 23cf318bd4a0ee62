//! Upgrades: WebSocket tunnels after 101, and nothing else does; over HTTP/2, after 200 to a CONNECT (RFC 8441).

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use lb_agent::l7::{Config, Setting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    Backend, Fixture, Http, RawBackend, Table, eventually, protocol, read_head, request, text,
};

/// A backend that agrees to any upgrade it is asked for, then echoes; else says what it saw.
async fn echo() -> Backend {
    Backend::start(|mut request| async move {
        let asked = request.headers().get("upgrade").cloned();
        let Some(protocol) = asked else { return Response::new(text("plain")) };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.expect("the proxy upgrades"));
            let (mut read, mut write) = tokio::io::split(&mut stream);
            drop(tokio::io::copy(&mut read, &mut write).await);
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .body(text(""))
            .expect("response")
    })
    .await
}

fn upgrade(
    protocol: &'static str,
) -> Request<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>> {
    Request::builder()
        .uri("/socket")
        .header("host", "a")
        .header("connection", "Upgrade")
        .header("upgrade", protocol)
        .body(Empty::new().boxed_unsync())
        .expect("request")
}

#[tokio::test]
async fn a_websocket_is_tunnelled() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let mut response = client.begin(upgrade("websocket")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert!(response.headers().contains_key("sec-websocket-accept"));
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("upgraded"));
    for size in [1, 1000, 100_000] {
        let sent = vec![b'w'; size];
        let mut echoed = vec![0; size];
        let (mut read, mut write) = tokio::io::split(&mut tunnel);
        let (written, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut echoed));
        written.expect("sent");
        got.expect("echoed");
        assert_eq!(sent, echoed);
    }
    // Routes change; the tunnel stays.
    fixture.publish(Table::default().build());
    tunnel.write_all(b"still").await.expect("sent");
    let mut echoed = [0; 5];
    tunnel.read_exact(&mut echoed).await.expect("echoed");
    assert_eq!(&echoed, b"still");
    assert_eq!(fixture.proxy.left().total(), 1, "a tunnel is an open connection");
    drop((tunnel, client));
    eventually("the tunnel is closed", || fixture.proxy.left().total() == 0).await;
}

#[tokio::test]
async fn other_upgrades_are_dropped() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for protocol in ["h2c", "tls/1.3", "websockets"] {
        let answer = Http::one(fixture.http()).await.send(upgrade(protocol)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "plain"), "{protocol}");
    }
}

/// It cannot be a handshake, and what it carries must not get lost.
#[tokio::test]
async fn a_body_beside_an_upgrade_arrives() {
    let backend = Backend::start(|request| async move {
        let upgrade = request.headers().contains_key("upgrade");
        let body = request.into_body().collect().await.expect("a whole body").to_bytes();
        Response::new(text(format!("{upgrade} {}", String::from_utf8_lossy(&body))))
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for method in ["GET", "POST"] {
        let mut asks = upgrade("websocket");
        *asks.method_mut() = method.parse().expect("a method");
        *asks.body_mut() = Full::from("hello").boxed_unsync();
        let answer = Http::one(fixture.http()).await.send(asks).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "false hello"), "{method}");
    }
}

/// Nothing else asks the endpoints of a Service that is for WebSockets alone.
#[tokio::test]
async fn handshakes_are_part_of_an_endpoints_record() {
    let broken = [RawBackend::start(|_, _| async {}).await, RawBackend::start(|_, _| async {}).await];
    let fixture = Fixture::start(Table::all_to(&broken.each_ref().map(|backend| backend.address)));
    for _ in 0..20 {
        assert_eq!(Http::one(fixture.http()).await.send(upgrade("websocket")).await.status, 502);
    }
    assert_eq!(
        fixture.metric("lb_l7_upstream_ejections_total{reason=\"broken\"}"),
        1,
        "at most half of them"
    );
}

#[tokio::test]
async fn a_refused_websocket_is_an_ordinary_answer() {
    let backend = Backend::says("no sockets here").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let answer = client.send(upgrade("websocket")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "no sockets here"));
    assert_eq!(client.send(request("a", "/")).await.status, 200, "the connection goes on");
}

/// A client of HTTP/2 that knows extended CONNECT.
async fn client(address: std::net::SocketAddr) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let client = client.ready().await.expect("settings");
    eventually("it is offered", || client.is_extended_connect_protocol_enabled()).await;
    client
}

fn connect(protocol: Option<&'static str>) -> Request<()> {
    let mut connect =
        Request::builder().method("CONNECT").uri("http://a/socket?x=1").body(()).expect("request");
    if let Some(protocol) = protocol {
        connect.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    } else {
        *connect.uri_mut() = "a:80".parse().expect("an authority");
    }
    connect
}

#[tokio::test]
async fn a_websocket_is_tunnelled_over_a_stream() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = client(fixture.http()).await;
    let (response, mut sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
    let response = response.await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let mut receiving = response.into_body();
    for text in [&b"one"[..], &[b'x'; 60_000]] {
        sending.send_data(bytes::Bytes::copy_from_slice(text), false).expect("sent");
        let mut echoed = Vec::new();
        while echoed.len() < text.len() {
            let part = receiving.data().await.expect("more").expect("data");
            receiving.flow_control().release_capacity(part.len()).expect("its own");
            echoed.extend_from_slice(&part);
        }
        assert_eq!(echoed, text);
    }
    // Requests go beside it, on the same connection.
    let get = Request::builder().uri("http://a/").body(()).expect("request");
    let (beside, _) = client.send_request(get, true).expect("sent");
    assert_eq!(beside.await.expect("a response").status(), StatusCode::OK);
    assert_eq!(fixture.metric("lb_l7_connections{kind=\"http2\"}"), 1);
    sending.send_data(bytes::Bytes::new(), true).expect("sent");
    // The end of one side is that of the other.
    while let Some(part) = receiving.data().await {
        assert!(part.expect("no reset").is_empty());
    }
}

/// An endpoint that closes with something unread resets its connection behind its last words.
#[tokio::test]
async fn last_words_come_before_the_end_of_a_stream() {
    const WORDS: &[u8] = b"\x88\x02\x03\xf1";
    let backend = RawBackend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switch).await.expect("switched");
        stream.readable().await.expect("something comes");
        stream.write_all(WORDS).await.expect("said");
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = client(fixture.http()).await;
    for _ in 0..20 {
        let (response, mut sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
        let mut receiving = response.await.expect("a response").into_body();
        sending.send_data(bytes::Bytes::from_static(b"nobody reads this"), false).expect("sent");
        // And it goes on sending, so that it is this direction that breaks.
        let more = tokio::spawn(async move {
            while sending.send_data(bytes::Bytes::from_static(b"nor this"), false).is_ok() {
                tokio::task::yield_now().await;
            }
        });
        let mut came = Vec::new();
        while let Some(Ok(part)) = receiving.data().await {
            came.extend_from_slice(&part);
        }
        more.abort();
        assert_eq!(came, WORDS);
    }
}

#[tokio::test]
async fn an_endpoint_is_asked_as_rfc_6455_says() {
    let (heads, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let backend = RawBackend::start(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            heads.send(String::from_utf8(read_head(&mut stream).await).expect("text")).expect("heard");
            drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await);
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = client(fixture.http()).await;
    let (response, _sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
    assert_eq!(response.await.expect("a response").status(), StatusCode::FORBIDDEN);
    let head = asked.recv().await.expect("a head").to_lowercase();
    assert!(head.starts_with("get /socket?x=1 http/1.1\r\n"), "{head}");
    for line in ["host: a", "connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    let key = head.split("sec-websocket-key: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    assert!(key.is_some_and(|key| key.len() == 24 && key.ends_with("==")), "{head}");
    assert!(!head.contains(":protocol") && !head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn no_other_connect_is_passed_on() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for protocol in [None, Some("connect-udp"), Some("WebSocket")] {
        let mut client = client(fixture.http()).await;
        let (response, _sending) = client.send_request(connect(protocol), false).expect("sent");
        assert_eq!(
            response.await.expect("a response").status(),
            StatusCode::METHOD_NOT_ALLOWED,
            "{protocol:?}"
        );
    }
    assert_eq!(backend.requests(), 0);
    // Where an endpoint speaks HTTP/2, there is no upgrade to ask it for.
    let backend = Backend::http2(|_| async { Response::new(text("hello")) }).await;
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(true, None)));
    let mut client = client(fixture.http()).await;
    let (response, _sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
    assert_eq!(response.await.expect("a response").status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_endpoint_that_takes_no_websocket_opens_no_tunnel() {
    let backend = Backend::says("plain").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = client(fixture.http()).await;
    let (response, _sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
    assert_eq!(response.await.expect("a response").status(), StatusCode::BAD_GATEWAY);
}

/// A proxy to one endpoint that echoes, with these limits.
async fn limited(settings: &[&str]) -> (Backend, Fixture) {
    let backend = echo().await;
    let limits = settings.iter().map(|text| text.parse::<Setting>().expect("a setting")).collect();
    let set = |config: &mut Config| config.limits = limits;
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    (backend, fixture)
}

fn reached(fixture: &Fixture, limit: &str) -> u64 {
    fixture.metric(&format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}"))
}

#[tokio::test]
async fn an_open_tunnel_is_work_under_way_at_its_endpoint() {
    let (_backend, fixture) = limited(&["endpoint-requests=1", "pending-time=60000"]).await;
    let mut client = Http::one(fixture.http()).await;
    let mut response = client.begin(upgrade("websocket")).await.expect("a response");
    let tunnel = hyper::upgrade::on(&mut response).await.expect("upgraded");
    let waits = tokio::spawn(Http::get(fixture.http(), "a", "/"));
    eventually("the next one waits", || fixture.metric("lb_l7_upstream_pending") == 1).await;
    assert_eq!(reached(&fixture, "endpoint-requests"), 1);
    drop((tunnel, client));
    assert_eq!(waits.await.expect("no panic").text(), "plain");
}

#[tokio::test]
async fn a_tunnel_over_a_stream_takes_the_place_of_a_connection() {
    for limit in ["connections", "connections-per-client"] {
        let (_backend, fixture) = limited(&[&format!("{limit}=3")]).await;
        let mut client = client(fixture.http()).await;
        let mut open = Vec::new();
        for status in [200, 200, 503] {
            let (response, sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
            let response = response.await.expect("a response");
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("retry-after"), status == 503);
            open.push((response, sending));
        }
        assert_eq!(reached(&fixture, limit), 1);
        drop(open);
        // The end of a stream is heard of a moment later.
        for tries in 0.. {
            assert!(tries < 10_000, "a place is free again");
            let (response, _sending) = client.send_request(connect(Some("websocket")), false).expect("sent");
            if response.await.expect("a response").status() == StatusCode::OK {
                break;
            }
        }
    }
}
