//! A process that has no descriptors left: connections wait, which is counted and told, and are served once there are some.

use std::fs::File;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{Backend, Fixture, Http, Table, eventually, request};

/// Set in the process that may run out: the limit is that of all its threads.
const ALONE: &str = "LB_TEST_ALONE";

const FAILURES: &str = "lb_l7_accept_failures_total{reason=\"process_descriptors\"}";

const TOLD: &str = "connections wait";

#[tokio::test]
async fn connections_wait_for_descriptors_and_are_served() {
    if std::env::var_os(ALONE).is_some() {
        return run_out().await;
    }
    let ended = Command::new(std::env::current_exe().expect("this program"))
        .args(["descriptors::connections_wait_for_descriptors_and_are_served", "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("a second process");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{}", said.escape_ascii());
}

async fn run_out() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let lines = Mutex::new(File::create(log.path()).expect("a file"));
    tracing_subscriber::fmt().with_writer(lines).with_ansi(false).init();
    let told = || std::fs::read_to_string(log.path()).expect("a log").matches(TOLD).count();

    let backend = Backend::says("ok").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut open = Http::one(fixture.http()).await;
    assert_eq!(open.send(request("a", "/")).await.text(), "ok");
    let sockets: Vec<_> = (0..3).map(|_| TcpSocket::new_v4().expect("a socket")).collect();
    let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, limits.1).expect("fewer");

    let mut waiting: Vec<TcpStream> = Vec::new();
    for socket in sockets {
        let mut stream = socket.connect(fixture.http()).await.expect("the kernel takes it");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
        waiting.push(stream);
    }
    eventually("it is tried", || fixture.metric(FAILURES) > 0).await;
    let (began, before) = (Instant::now(), fixture.metric(FAILURES));
    eventually("it is tried again", || fixture.metric(FAILURES) >= before + 10).await;
    assert!(began.elapsed().as_millis() >= 10 * 50 - 50, "it does little else: {:?}", began.elapsed());
    assert_eq!(open.send(request("a", "/")).await.text(), "ok", "who has a connection is served");

    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).expect("as many as before");
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let failures = fixture.metric(FAILURES);
    assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
    assert_eq!(fixture.metric(FAILURES), failures, "nothing fails any more");
    assert_eq!(told(), 1, "the log is told once, not {failures} times");
}
