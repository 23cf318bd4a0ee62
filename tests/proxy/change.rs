//! Change while requests run: none fails. And the end: what runs may finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Response;

use super::support::{Backend, Fixture, Http, Table, all_schemes, connect_tls, request, text};

#[tokio::test]
async fn no_request_fails_while_routes_change() {
    let (one, two) = (Backend::says("one").await, Backend::says("two").await);
    let fixture = Fixture::start(Table::all_to(&[one.address]));
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, address) = (stop.clone(), fixture.http());
            tokio::spawn(async move {
                let mut client = Http::one(address).await;
                let mut answered = 0;
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.send(request("a", "/")).await;
                    assert!(["one", "two"].contains(&answer.text()), "{answer:?}");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for change in 0..200 {
        let endpoint = if change % 2 == 0 { two.address } else { one.address };
        fixture.publish(Table::all_to(&[endpoint]));
        let answer = Http::get(fixture.http(), "a", "/").await;
        let expected = if change % 2 == 0 { "two" } else { "one" };
        assert_eq!(answer.text(), expected, "a change is live when publish returns");
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.expect("no request failed") > 0);
    }
    assert_eq!(fixture.metric("lb_l7_requests_total{protocol=\"http\",class=\"5xx\"}"), 0);
}

#[tokio::test]
async fn a_request_under_way_outlives_its_route() {
    let (backend, release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let address = fixture.http();
    let waiting = tokio::spawn(async move { Http::get(address, "a", "/slow").await });
    super::support::eventually("the backend has the request", || backend.requests() == 1).await;
    fixture.publish(Table::default().build());
    assert_eq!(Http::get(address, "a", "/").await.status, 404);
    release.notify_one();
    assert_eq!(waiting.await.expect("no panic").text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_requests_and_closes_idle_connections() {
    let (backend, release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let address = fixture.http();
    let mut idle = Http::one(address).await;
    idle.send(request("a", "/")).await;
    let slow = tokio::spawn(async move { Http::get(address, "a", "/slow").await });
    super::support::eventually("the slow request runs", || backend.requests() == 2).await;
    let began = Instant::now();
    let proxy = fixture.proxy;
    let shutdown = tokio::task::spawn_blocking(move || proxy.shutdown(Duration::from_secs(10)));
    super::support::eventually("new connections are refused", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    assert!(!shutdown.is_finished(), "it waits for the slow request");
    release.notify_one();
    assert_eq!(slow.await.expect("no panic").text(), "done");
    shutdown.await.expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(9), "it did not wait long for the idle connection");
    assert!(idle.begin(request("a", "/")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_connections_that_have_just_been_made() {
    let backend = Backend::start(|_| async { Response::new(text("done")) }).await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let (clear, tls) = (fixture.http(), fixture.https());
    // One waits to be accepted, perhaps; one has finished its handshake; all have still to ask.
    let one = tokio::net::TcpStream::connect(clear).await.expect("connect");
    let two = tokio::net::TcpStream::connect(clear).await.expect("connect");
    let secret = connect_tls(tls, "a", &[], all_schemes()).await;
    let proxy = fixture.proxy;
    let shutdown = tokio::task::spawn_blocking(move || proxy.shutdown(Duration::from_secs(60)));
    super::support::eventually("new connections are refused", || {
        std::net::TcpStream::connect(clear).is_err()
    })
    .await;
    for mut http in [Http::one_over(one).await, Http::two_over(two).await, Http::one_over(secret).await] {
        let answer = http.send(request("a", "/")).await;
        assert_eq!(answer.text(), "done");
        if matches!(http, Http::One(_)) {
            assert_eq!(answer.header("connection"), "close");
        }
    }
    shutdown.await.expect("no panic");
}
