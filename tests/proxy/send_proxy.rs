//! PROXY headers to endpoints: each connection says whose it is, and is nobody else's.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Http, RawBackend, Shop, eventually, request};

/// A pod that notes what comes before each request, and answers one on each connection, which it leaves open.
async fn pod(header: fn(&[u8]) -> Option<usize>) -> (RawBackend, Arc<Mutex<Vec<Vec<u8>>>>) {
    let noted = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let notes = noted.clone();
    let backend = RawBackend::start(move |_, mut stream| {
        let notes = notes.clone();
        async move {
            let mut came = Vec::new();
            while !came.ends_with(b"\r\n\r\n") || header(&came).is_none_or(|end| end == came.len()) {
                let Ok(byte) = stream.read_u8().await else { return };
                came.push(byte);
            }
            let end = header(&came).unwrap_or_default();
            let is_check = came[end..].starts_with(b"GET /healthz");
            if !is_check || came[..end].starts_with(b"PROXY UNKNOWN") {
                notes.lock().expect("no panic").push(came[..end].to_vec());
            }
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await);
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    })
    .await;
    (backend, noted)
}

/// Where a text header ends.
fn text_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
}

/// Where a binary header of IPv4 ends.
fn binary_end(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= 28).then_some(28)
}

#[tokio::test]
async fn each_request_comes_with_its_clients_address_and_over_its_own_connection() {
    for (version, end) in [("v1", text_end as fn(&[u8]) -> Option<usize>), ("v2", binary_end)] {
        let (pod, noted) = pod(end).await;
        let shop = Shop::of(json!({"edgelb.dev/send-proxy": version}));
        let mut site = shop.open(&[]).await;
        shop.tell_of(&mut site, &[pod.address]);
        assert_eq!(site.problems, Vec::<String>::new());
        for _ in 0..2 {
            let stream = TcpStream::connect(site.http()).await.expect("connect");
            let port = stream.local_addr().expect("connected").port();
            let mut client = Http::one_over(stream).await;
            for _ in 0..2 {
                assert_eq!(client.send(request("a", "/")).await.text(), "ok");
                let header = noted.lock().expect("no panic").pop().expect("a header");
                if version == "v1" {
                    let text = String::from_utf8(header).expect("text");
                    assert!(text.starts_with(&format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} ")), "{text}");
                } else {
                    assert!(
                        header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01")
                    );
                    assert_eq!(header[24..26], port.to_be_bytes());
                }
            }
        }
        assert_eq!(pod.connections(), 4);
    }
}

#[tokio::test]
async fn health_checks_are_nobodys() {
    let (pod, noted) = pod(text_end).await;
    let check = "path=/healthz, interval=100ms, timeout=100ms";
    let shop = Shop::of(json!({"edgelb.dev/send-proxy": "v1", "edgelb.dev/health-check": check}));
    let mut site = shop.open(&[]).await;
    shop.tell_of(&mut site, &[pod.address]);
    eventually("it is checked", || {
        noted.lock().expect("no panic").iter().any(|header| header == b"PROXY UNKNOWN\r\n")
    })
    .await;
    let wrong = Shop::of(json!({"edgelb.dev/send-proxy": "v3"}));
    wrong.tell_of(&mut site, &[pod.address]);
    let said = site.problems.join("\n");
    assert!(said.contains("metadata.annotations[edgelb.dev/send-proxy]: \"v3\" is not v1 or v2"), "{said}");
}
