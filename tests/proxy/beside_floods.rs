//! What others notice while somebody floods the proxy, and what it uses meanwhile: their answers are hardly later than without
//! that, it holds little more memory, and runs no longer on a processor than its one worker can; afterwards it rests.
//! It has a process of its own. A worker has one thread, and this machine others to do: what is noise has a floor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::BodyExt;
use lb_agent::l7::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::support::floods::{
    continuations, empty_data, made_to_reset, pings, settings, streams, table_bomb, taken_back,
};
use super::support::frames::{PREFACE, SETTINGS, frame};
use super::support::{
    Apart, Backend, Fixture, Http, Table, all_schemes, apart, eventually, request, text, tls_client,
    with_head_time,
};

/// Who floods at one time.
const FLOODERS: usize = 4;
/// Requests that are timed.
const TIMED: usize = 200;
/// Later by so many times is too late,
const TIMES: u32 = 3;
/// if it is more than a machine with other things to do explains.
const FLOOR: Duration = Duration::from_millis(250);

/// So much more memory may be held during a flood, and after it.
const MEMORY: u64 = 32 << 20;
/// More than its worker and a bit of what else there is cannot be at work at once, in percent of a processor.
const PROCESSOR: u32 = 150;
/// After a flood it does so much of nothing,
const REST: Duration = Duration::from_millis(500);
/// and takes no more than that for it.
const AT_REST: Duration = Duration::from_millis(100);

/// How long a head may take, and the next part of a body, where that is to be reached.
const SHORT: Duration = Duration::from_millis(500);

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

/// Begins one request after the other that does not end: each byte comes by itself (slowloris, slow POST).
async fn trickle(to: SocketAddr, beginning: &'static str) {
    loop {
        let Ok(mut stream) = TcpStream::connect(to).await else { continue };
        let mut part = beginning.as_bytes();
        while stream.write_all(part).await.is_ok() {
            tokio::time::sleep(SHORT / 5).await;
            part = b"y";
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

/// One flood: the name of its test, what is counted, whether it is waited for a `SHORT` time only, and how many flood.
struct Flood {
    name: &'static str,
    line: String,
    is_short: bool,
    flooders: usize,
}

impl Flood {
    /// One that reaches this limit.
    fn reaching(name: &'static str, limit: &str) -> Self {
        let line = format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}");
        Self { name, line, is_short: false, flooders: FLOODERS }
    }

    /// Over HTTP/2, by these frames.
    async fn of_frames(self, frames: impl Iterator<Item = Vec<u8>>) {
        let begin = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])];
        let bytes = Arc::from(begin.into_iter().chain(frames).collect::<Vec<_>>().concat());
        self.check(|proxy| flood(proxy.http, Arc::clone(&bytes), false)).await;
    }

    fn set(&self, config: &mut Config) {
        if self.is_short {
            config.limits = with_head_time(config.limits, SHORT.as_millis() as u64);
            config.timeouts.upload = SHORT;
        }
    }

    /// That others hardly notice, while the limit is reached all the time.
    async fn check<F>(self, flooder: impl Fn(&Apart) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(backend) = apart::told() {
            let table = Table::all_to(&[backend.parse().expect("an address")]);
            return apart::serve(&Fixture::start_as(|config| self.set(config), table));
        }
        let backend = Backend::start(|request| async move {
            // A body that never ends has no answer.
            drop(request.into_body().collect().await);
            Response::new(text("ok"))
        })
        .await;
        let proxy = Apart::start(&format!("beside_floods::{}", self.name), &backend.address.to_string());
        let mut other = Http::one(proxy.http).await;
        let alone = p99(&mut other).await;
        let use_before = Use::of(&proxy);
        let mut flooders = JoinSet::new();
        for _ in 0..self.flooders {
            flooders.spawn(flooder(&proxy));
        }
        eventually("it has begun", || proxy.metric(&self.line) > FLOODERS as u64).await;
        let before = proxy.metric(&self.line);
        let beside = p99(&mut other).await;
        assert!(beside <= FLOOR.max(TIMES * alone), "{beside:?}, and without it {alone:?}");
        eventually("the flood goes on", || proxy.metric(&self.line) > before).await;
        use_before.check(&proxy);
        // And who comes then finds no less room than before.
        flooders.shutdown().await;
        eventually("only the other one is left", || open_connections(&proxy) == 1).await;
        assert_eq!(Http::get(proxy.http, "a", "/").await.text(), "ok");
        use_before.check(&proxy);
        check_rest(&proxy).await;
    }
}

/// Client connections, whatever they carry.
fn open_connections(proxy: &Apart) -> u64 {
    let kinds = ["new", "http1", "http2", "websocket"];
    kinds.map(|kind| proxy.metric(&format!("lb_l7_connections{{kind=\"{kind}\"}}"))).iter().sum()
}

/// What a proxy has used until then.
struct Use {
    at: Instant,
    memory: u64,
    processor_time: Duration,
}

impl Use {
    fn of(proxy: &Apart) -> Self {
        Self { at: Instant::now(), memory: proxy.memory(), processor_time: proxy.processor_time() }
    }

    /// That it is not much more by now.
    fn check(&self, proxy: &Apart) {
        let now = Self::of(proxy);
        let more = now.memory.saturating_sub(self.memory);
        assert!(more <= MEMORY, "{more} bytes more in use than {}", self.memory);
        let (busy, elapsed) = (now.processor_time - self.processor_time, self.at.elapsed());
        assert!(100 * busy <= PROCESSOR * elapsed + 100 * AT_REST, "at work for {busy:?} of {elapsed:?}");
        println!("{more} bytes more, at work for {busy:?} of {elapsed:?}");
    }
}

/// That nothing goes on by itself.
async fn check_rest(proxy: &Apart) {
    let before = proxy.processor_time();
    tokio::time::sleep(REST).await;
    let took = proxy.processor_time() - before;
    assert!(took <= AT_REST, "at work for {took:?} of {REST:?}, for nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_whether_we_are_there() {
    let flood = Flood::reaching("questions_whether_we_are_there", "http2-control-frames");
    flood.of_frames(pings(2_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_to_acknowledge() {
    let flood = Flood::reaching("settings_to_acknowledge", "http2-control-frames");
    flood.of_frames(settings(2_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_with_nothing_in_it() {
    let flood = Flood::reaching("data_with_nothing_in_it", "http2-empty-data");
    flood.of_frames(empty_data(2_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_taken_back() {
    let flood = Flood::reaching("streams_that_are_taken_back", "http2-pending-resets");
    flood.of_frames(taken_back(streams().take(500))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_we_have_to_reset() {
    let flood = Flood::reaching("streams_that_we_have_to_reset", "http2-local-resets");
    flood.of_frames(made_to_reset(streams().take(500))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_blocks_without_end() {
    let flood = Flood::reaching("header_blocks_without_end", "http2-header-frames");
    flood.of_frames(continuations(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_grow_when_they_are_decoded() {
    let flood = Flood {
        // A client that does not react to what it is told is closed after that.
        is_short: true,
        ..Flood::reaching("headers_that_grow_when_they_are_decoded", "http2-header-list-bytes")
    };
    flood.of_frames(table_bomb(10_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_long() {
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(1 << 20));
    let head = Arc::from(head.into_bytes());
    let limit = Flood::reaching("heads_that_are_too_long", "head-bytes");
    limit.check(|proxy| flood(proxy.http, Arc::clone(&head), false)).await;
}

/// Of 500 clients at one time.
async fn check_trickle(name: &'static str, limit: &str, beginning: &'static str) {
    let limit = Flood { is_short: true, flooders: 500, ..Flood::reaching(name, limit) };
    limit.check(|proxy| trickle(proxy.http, beginning)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_do_not_end() {
    check_trickle("heads_that_do_not_end", "head-time", "GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_end() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    check_trickle("bodies_that_do_not_end", "upload-rate", head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_do_not_end() {
    let config = tls_client(rustls::DEFAULT_VERSIONS, &[], all_schemes());
    let name = "a".try_into().expect("a name");
    let mut hello = Vec::new();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    client.write_tls(&mut hello).expect("a greeting");
    let hello = Arc::from(hello);
    let line = "lb_l7_tls_handshake_failures_total{reason=\"closed\"}".to_owned();
    let flood_of = Flood { line, ..Flood::reaching("handshakes_that_do_not_end", "") };
    flood_of.check(|proxy| flood(proxy.https, Arc::clone(&hello), true)).await;
}
