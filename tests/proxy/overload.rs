//! More work than a worker can do: a share of it is refused early and under its name, the rest goes on.

use std::time::{Duration, Instant};

use lb_agent::l7::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::{Backend, Fixture, Http, Table, eventually, request};

/// Requests, one behind the other, as fast as they are taken; what comes back until it is stopped.
async fn flood(address: std::net::SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("connect");
    let (mut reading, mut writing) = stream.into_split();
    let requests = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20);
    let write = async { while writing.write_all(&requests).await.is_ok() {} };
    let read = async { while !matches!(reading.read(&mut [0; 64 * 1024]).await, Ok(0) | Err(_)) {} };
    tokio::join!(write, read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_early_until_it_is_over() {
    let backend = Backend::says("ok").await;
    let set = |config: &mut Config| {
        config.limits = config.limits.with("worker-delay=20".parse().expect("a setting"));
    };
    let table = Table::default().rule("a", "/", &[backend.address]).build();
    let fixture = Fixture::start_as(set, table);
    let overloaded = || fixture.metric("lb_l7_replies_total{reason=\"overloaded\"}");
    let reached = || fixture.metric("lb_l7_limits_reached_total{limit=\"worker-delay\"}");
    assert_eq!((overloaded(), reached()), (0, 0));
    let mut floods = JoinSet::new();
    for _ in 0..100 {
        floods.spawn(flood(fixture.http()));
    }
    eventually("some are refused", || overloaded() > 0).await;
    let mut client = Http::one(fixture.http()).await;
    let (mut taken, mut refused) = (0, 0);
    while taken == 0 || refused == 0 {
        let began = Instant::now();
        let answer = client.send(request("a", "/")).await;
        match answer.status.as_u16() {
            200 => {
                // Far less than what waits: of a hundred clients, twenty requests each.
                assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
                taken += 1;
            }
            503 => {
                assert_eq!(answer.header("retry-after"), "1");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    floods.shutdown().await;
    eventually("in the clear, no connection is refused", || reached() == overloaded()).await;
    let mut in_a_row = 0;
    while in_a_row < 50 {
        let is_taken = client.send(request("a", "/")).await.status.is_success();
        in_a_row = if is_taken { in_a_row + 1 } else { 0 };
    }
}

#[tokio::test]
async fn where_memory_runs_short_most_is_refused() {
    let (backend, root) = (Backend::says("ok").await, tempfile::tempdir().expect("a folder"));
    let own = root.path().join("proc/self");
    std::fs::create_dir_all(&own).expect("a folder");
    std::fs::write(own.join("status"), "RssAnon: 900000 kB\n").expect("a file");
    let leave = |kib: u64| {
        std::fs::write(root.path().join("proc/meminfo"), format!("MemAvailable: {kib} kB\n"))
            .expect("a file");
    };
    leave(10_000);
    let set = |config: &mut Config| config.root = root.path().into();
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let reached = || fixture.metric("lb_l7_limits_reached_total{limit=\"memory\"}");
    let mut client = Http::one(fixture.http()).await;
    let (mut taken, mut refused) = (0, 0);
    while taken == 0 || refused < 10 {
        match client.send(request("a", "/")).await {
            answer if answer.status == 200 => taken += 1,
            answer => {
                assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
                refused += 1;
            }
        }
    }
    assert_eq!(reached(), refused);
    leave(900_000);
    let mut in_a_row = 0;
    while in_a_row < 50 {
        let is_taken = client.send(request("a", "/")).await.status.is_success();
        in_a_row = if is_taken { in_a_row + 1 } else { 0 };
    }
}
