//! slowhttptest, which holds a server's connections by sending or reading as slowly as it can: a limit ends each of them, its
//! metric counts them, and other clients are served all the while.

use std::cell::Cell;
use std::convert::Infallible;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use lb_agent::l7::Config;

use super::support::{Backend, Fixture, Http, Program, Table, body_of, eventually, text, with_head_time};

const CONNECTIONS: u64 = 100;

/// So long may another client wait for its answer, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers `/large` at length, and all else once it has the whole request.
async fn backend() -> Backend {
    Backend::start(|request| async move {
        if request.uri().path() == "/large" {
            let chunks = (0..1024).map(|_| Ok(Frame::data(Bytes::from_static(&[b'x'; 64 * 1024]))));
            return Response::new(body_of(StreamBody::new(futures_util::stream::iter(chunks))));
        }
        drop(request.into_body().collect().await);
        Response::new(text("ok"))
    })
    .await
}

/// Asks all the while, each time over a connection of its own.
async fn ask(fixture: &Fixture, answers: &Cell<usize>) -> Infallible {
    loop {
        let asked = Instant::now();
        assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
        assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
        answers.set(answers.get() + 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Attacks in this way, and is held off by this limit. Times that are not of interest are as usual: what is late on a slow
/// machine would be ended by another one.
async fn check(path: &str, flags: &[&str], limit: &str, set: impl FnOnce(&mut Config)) {
    let backend = backend().await;
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let mut slow = Command::new("slowhttptest");
    slow.args(flags).args(["-c", &CONNECTIONS.to_string(), "-r", "1000", "-l", "20", "-p", "2", "-u"]);
    let attack = Program::start(slow.arg(format!("http://{}{path}", fixture.http()))).finish();
    let answers = Cell::new(0);
    let (said, _) = tokio::select! {
        ended = attack => ended,
        never = ask(&fixture, &answers) => match never {},
    };
    assert!(said.contains("No open connections left") && !said.contains("NO"), "{said}");
    assert!(answers.get() > 0, "nobody else asked");
    let line = format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}");
    assert_eq!(fixture.metric(&line), CONNECTIONS, "{limit}");
    eventually("all are closed", || fixture.proxy.left().total() == 0).await;
}

#[tokio::test]
async fn slow_heads() {
    check("/", &["-H", "-i", "1"], "head-time", |config| config.limits = with_head_time(config.limits, 1000))
        .await;
}

#[tokio::test]
async fn slow_bodies() {
    check("/", &["-B", "-i", "1"], "upload-rate", |config| config.timeouts.upload = Duration::from_secs(1))
        .await;
}

#[tokio::test]
async fn slow_readers() {
    let flags = ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "512"];
    let set = |config: &mut Config| config.timeouts.download = Duration::from_millis(300);
    check("/large", &flags, "download-rate", set).await;
}

#[tokio::test]
async fn thousands_of_ranges() {
    check("/", &["-R", "-a", "5", "-b", "20000"], "head-bytes", |_| {}).await;
}
