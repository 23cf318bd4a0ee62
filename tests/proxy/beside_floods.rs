//! How late other clients' answers are while somebody floods the proxy, by the same measure without that. A worker has
//! one thread, and this machine others to do: what is noise has a floor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
};
use super::support::{Backend, Fixture, Http, Table, all_schemes, eventually, request, tls_client};

/// `GET http://a/`, all from the static table but the authority.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];

/// Who floods at one time.
const FLOODERS: usize = 4;
/// Requests that are timed.
const TIMED: usize = 200;
/// Later by so many times is too late,
const TIMES: u32 = 3;
/// if it is more than a machine with other things to do explains.
const FLOOR: Duration = Duration::from_millis(250);

/// Sends this on one connection after the other, as soon as the proxy has ended the one before, or has answered.
async fn flood(to: SocketAddr, bytes: Arc<[u8]>, is_left_at_once: bool) {
    loop {
        let Ok(stream) = TcpStream::connect(to).await else { continue };
        let (mut reading, mut writing) = stream.into_split();
        let mut rest = Vec::new();
        let write = writing.write_all(&bytes);
        if is_left_at_once {
            _ = write.await;
            _ = reading.read_u8().await;
        } else {
            _ = tokio::join!(write, reading.read_to_end(&mut rest));
        }
    }
}

/// How long all but the latest of a hundred answers take.
async fn p99(client: &mut Http) -> Duration {
    let mut took = Vec::new();
    for _ in 0..TIMED {
        let began = Instant::now();
        assert_eq!(client.send(request("a", "/")).await.text(), "ok");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[TIMED * 99 / 100]
}

/// That others hardly notice, while this is counted all the time.
async fn check(line: &str, is_tls: bool, bytes: Vec<u8>) {
    let backend = Backend::says("ok").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut other = Http::one(fixture.http()).await;
    let alone = p99(&mut other).await;
    let (to, bytes) = (if is_tls { fixture.https() } else { fixture.http() }, Arc::from(bytes));
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        flooders.spawn(flood(to, Arc::clone(&bytes), is_tls));
    }
    eventually("it has begun", || fixture.metric(line) > FLOODERS as u64).await;
    let before = fixture.metric(line);
    let beside = p99(&mut other).await;
    assert!(fixture.metric(line) > before, "the flood goes on");
    assert!(beside <= FLOOR.max(TIMES * alone), "{line}: {beside:?}, and without it {alone:?}");
    // And who comes then finds no less room than before.
    flooders.shutdown().await;
    eventually("only the other one is left", || fixture.proxy.left().total() == 1).await;
    assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
}

fn reached(limit: &str) -> String {
    format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}")
}

fn http2(frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].into_iter().chain(frames).collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings() {
    let pings = std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]), 2_000);
    check(&reached("http2-control-frames"), false, http2(pings)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_taken_back() {
    let pairs = (1..).step_by(2).take(500).flat_map(|stream| {
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
    });
    check(&reached("http2-pending-resets"), false, http2(pairs)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuations() {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    let more = frame(CONTINUATION, 0, 1, &[0x10, 1, b'x', 1, b'y']);
    let frames = std::iter::once(begin).chain(std::iter::repeat_n(more, 500));
    check(&reached("http2-header-frames"), false, http2(frames)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes() {
    let config = tls_client(rustls::DEFAULT_VERSIONS, &[], all_schemes());
    let name = "a".try_into().expect("a name");
    let mut hello = Vec::new();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    client.write_tls(&mut hello).expect("a greeting");
    check("lb_l7_tls_handshake_failures_total{reason=\"closed\"}", true, hello).await;
}
