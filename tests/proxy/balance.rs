//! Which endpoint a request goes to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Backend, Fixture, Http, RawBackend, Table, eventually, request, text};

/// Answers after this time.
async fn after(delay: Duration) -> Backend {
    Backend::start(move |_| async move {
        tokio::time::sleep(delay).await;
        Response::new(text("done"))
    })
    .await
}

/// So many requests by each of so many clients.
async fn ask(fixture: &Fixture, clients: usize, requests: usize) {
    let address = fixture.http();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Http::one(address).await;
                for _ in 0..requests {
                    assert_eq!(client.send(request("a", "/")).await.status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("all are answered");
    }
}

#[tokio::test]
async fn a_slow_endpoint_gets_far_fewer_requests() {
    let (slow, one, two) =
        (after(Duration::from_millis(300)).await, after(Duration::ZERO).await, after(Duration::ZERO).await);
    let fixture = Fixture::start(Table::all_to(&[slow.address, one.address, two.address]));
    ask(&fixture, 4, 100).await;
    assert_eq!(slow.requests() + one.requests() + two.requests(), 400);
    assert!(slow.requests() < 80, "{} of 400, where a third would be 133", slow.requests());
    assert!(one.requests().min(two.requests()) > 20, "{} and {}", one.requests(), two.requests());
}

#[tokio::test]
async fn a_new_endpoint_is_not_flooded() {
    let (old, new) = (after(Duration::ZERO).await, after(Duration::ZERO).await);
    let fixture = Fixture::start(Table::all_to(&[old.address]));
    ask(&fixture, 1, 10).await;
    fixture.publish(Table::all_to(&[old.address, new.address]));
    ask(&fixture, 4, 50).await;
    assert_eq!(old.requests() + new.requests(), 210);
    assert!((1..70).contains(&new.requests()), "{} of 200 at the new one", new.requests());
}

#[tokio::test]
async fn connections_to_an_endpoint_that_is_gone_are_closed() {
    let closed = Arc::<AtomicBool>::default();
    let ended = closed.clone();
    let gone = RawBackend::start(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("answer");
            drop(stream.read_to_end(&mut Vec::new()).await);
            ended.store(true, Ordering::SeqCst);
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[gone.address]));
    ask(&fixture, 1, 1).await;
    fixture.publish(Table::default().build());
    eventually("its idle connection is closed", || closed.load(Ordering::SeqCst)).await;
}
