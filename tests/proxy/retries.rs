//! What is sent a second time, to whom, and how often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use lb_agent::l7::Timeouts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::support::{Backend, Fixture, Http, RawBackend, Speaks, Table, protocol, read_head, request, text};

/// An endpoint that reads a request and breaks off.
async fn breaks_off() -> RawBackend {
    RawBackend::start(|_, mut stream| async move { drop(read_head(&mut stream).await) }).await
}

const RETRIED: &str = "lb_l7_upstream_retries_total{outcome=\"retried\"}";
const REFUSED: &str = "lb_l7_upstream_retries_total{outcome=\"refused\"}";

#[tokio::test]
async fn what_an_endpoint_broke_off_goes_to_another_one() {
    let (good, bad) = (Backend::says("good").await, breaks_off().await);
    let fixture = Fixture::start(Table::all_to(&[good.address, bad.address]));
    let mut client = Http::one(fixture.http()).await;
    while bad.connections() == 0 {
        assert_eq!(client.send(request("a", "/")).await.text(), "good");
    }
    assert_eq!((bad.connections(), fixture.metric(RETRIED)), (1, 1));
}

/// An endpoint that switches to what nobody asked for has not taken the request's headers along.
#[tokio::test]
async fn what_is_sent_again_is_whole() {
    let good = Backend::start(|request| async move {
        let mark = request.headers().get("x-mark").and_then(|mark| mark.to_str().ok());
        Response::new(text(mark.unwrap_or("none").to_owned()))
    })
    .await;
    let bad = RawBackend::start(|_, mut stream| async move {
        drop(read_head(&mut stream).await);
        drop(stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[good.address, bad.address]));
    let mut client = Http::one(fixture.http()).await;
    while bad.connections() == 0 {
        let mut get = request("a", "/");
        get.headers_mut().insert("x-mark", "here".parse().expect("a value"));
        assert_eq!(client.send(get).await.text(), "here");
    }
}

#[tokio::test]
async fn what_may_have_had_an_effect_does_not() {
    let (good, bad) = (Backend::says("good").await, breaks_off().await);
    let fixture = Fixture::start(Table::all_to(&[good.address, bad.address]));
    let mut client = Http::one(fixture.http()).await;
    let mut status = StatusCode::OK;
    while bad.connections() == 0 {
        let mut post = request("a", "/");
        *post.method_mut() = Method::POST;
        status = client.send(post).await.status;
    }
    assert_eq!((status, fixture.metric(RETRIED)), (StatusCode::BAD_GATEWAY, 0));
}

#[tokio::test]
async fn a_request_is_repeated_once() {
    let (one, two, three) = (breaks_off().await, breaks_off().await, breaks_off().await);
    let fixture = Fixture::start(Table::all_to(&[one.address, two.address, three.address]));
    assert_eq!(Http::get(fixture.http(), "a", "/").await.status, 502);
    assert_eq!(one.connections() + two.connections() + three.connections(), 2);
    assert_eq!(fixture.metric(RETRIED), 1);
}

/// Endpoints that come and go while a request is under way count for its second try.
#[tokio::test]
async fn a_second_try_goes_to_those_that_there_are_by_then() {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, held) = (arrived.clone(), release.clone());
    let bad = RawBackend::start(move |_, mut stream| {
        let (told, held) = (told.clone(), held.clone());
        async move {
            drop(read_head(&mut stream).await);
            told.notify_one();
            held.notified().await;
        }
    })
    .await;
    let (old, new) = (Backend::says("old").await, Backend::says("new").await);
    for others in [&[old.address][..], &[]] {
        let before = [&[bad.address], others].concat();
        let fixture = Fixture::start(Table::all_to(&before));
        let answer = loop {
            let mut asked = tokio::spawn(Http::get(fixture.http(), "a", "/"));
            let asked = tokio::select! {
                () = arrived.notified() => {
                    fixture.publish(Table::all_to(&[new.address]));
                    release.notify_one();
                    asked.await
                }
                // No, this one went to the other endpoint.
                answer = &mut asked => match answer {
                    Ok(answer) if answer.text() == "old" => continue,
                    answer => answer,
                }
            };
            break asked.expect("no panic");
        };
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "new"), "{others:?}");
    }
}

#[tokio::test]
async fn where_nobody_takes_connections_a_few_are_asked() {
    let mut gone = Vec::new();
    for _ in 0..8 {
        gone.push(Backend::says("gone").await);
    }
    let mut addresses: Vec<_> = gone.iter().map(|backend| backend.address).collect();
    drop(gone);
    let fixture = Fixture::start(Table::all_to(&addresses));
    let counted = || {
        let names = ["connects_total{result=\"failed\"}", "retries_total{outcome=\"unconnected\"}"];
        names.map(|name| fixture.metric(&format!("lb_l7_upstream_{name}")))
    };
    assert_eq!(Http::get(fixture.http(), "a", "/").await.status, 502);
    assert_eq!(counted(), [4, 3], "four of eight");
    let good = Backend::says("good").await;
    addresses.truncate(3);
    addresses.push(good.address);
    fixture.publish(Table::all_to(&addresses));
    for _ in 0..10 {
        assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "good");
    }
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let (one, two) = (breaks_off().await, breaks_off().await);
    let fixture = Fixture::start(Table::all_to(&[one.address, two.address]));
    let (mut client, began, mut asked) = (Http::one(fixture.http()).await, Instant::now(), 0);
    while fixture.metric(REFUSED) == 0 {
        assert_eq!(client.send(request("a", "/")).await.status, 502);
        asked += 1;
        assert!(began.elapsed() < Duration::from_secs(60), "{asked} requests");
    }
    assert_eq!(one.connections() + two.connections(), asked + fixture.metric(RETRIED) as usize);
}

#[tokio::test]
async fn all_attempts_share_one_time() {
    // The first one breaks off late, the second one never answers.
    let late = |_, mut stream: tokio::net::TcpStream| async move {
        drop(stream.read_u8().await);
        tokio::time::sleep(Duration::from_millis(2200)).await;
    };
    let (one, two) = (RawBackend::start(late).await, RawBackend::start(late).await);
    let timeouts = Timeouts { response: Duration::from_secs(3), ..Timeouts::default() };
    let fixture = Fixture::start_with(timeouts, Table::all_to(&[one.address, two.address]));
    let get: Request<_> = request("a", "/");
    let answer = Http::one(fixture.http()).await.send(get).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "a second one alone would break off, too");
    assert_eq!(fixture.metric(RETRIED), 1);
}

#[tokio::test]
async fn a_connection_takes_of_the_time_that_there_is() {
    // The handshake comes late, the answer never.
    let tls = Speaks::tls(false, &["http/1.1"]).tls.expect("TLS");
    let backend = RawBackend::start(move |_, stream| {
        let tls = tls.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(900)).await;
            let _stream = tls.accept(stream).await;
            std::future::pending().await
        }
    })
    .await;
    let timeouts = Timeouts { response: Duration::from_millis(1200), ..Timeouts::default() };
    let table = Table::all_spoken(&[backend.address], protocol(false, Some("a")));
    let fixture = Fixture::start_with(timeouts, table);
    let began = Instant::now();
    assert_eq!(Http::get(fixture.http(), "a", "/").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
}
