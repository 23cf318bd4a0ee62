//! Clients that read slowly: what the proxy holds for each of them is little, whatever they speak. It is measured from
//! outside, of a process that has the proxy and nothing else.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lb_agent::l7::Timeouts;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::frames::{
    END_HEADERS, END_STREAM, GET, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame,
};
use super::support::{
    Apart, Fixture, RawBackend, Table, all_schemes, apart, certificate, connect_tls_over, protocol, read_head,
};

const READERS: usize = 1000;

/// Of user memory, for each.
const MOST: u64 = 128 * 1024;

/// Of a response.
const GIB: u64 = 1 << 30;

/// What each has read before it stops.
const BEGINNING: u64 = 16 * 1024;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Http1,
    Tls,
    /// It reads nothing more.
    Http2,
    /// It reads all that comes, and opens no window.
    Http2Window,
}

/// Whether the endpoint speaks HTTP/2, and what its readers do.
const READS: [(bool, Kind); 6] = [
    (false, Kind::Http1),
    (false, Kind::Http2),
    (false, Kind::Http2Window),
    (false, Kind::Tls),
    (true, Kind::Http1),
    (true, Kind::Http2),
];

#[tokio::test]
async fn a_thousand_slow_readers_hold_little_memory() {
    if let Some(backend) = apart::told() {
        let (address, is_http2) = backend.split_once(' ').expect("both");
        return serve(address.parse().expect("an address"), is_http2 == "true");
    }
    let name = "slow_readers::a_thousand_slow_readers_hold_little_memory";
    raise_descriptors();
    let sent = Arc::<AtomicU64>::default();
    let (http1, http2) = (backend(sent.clone()).await, http2_backend(sent.clone()).await);
    let mut held = Vec::new();
    for (is_http2, kind) in READS {
        let backend = if is_http2 { &http2 } else { &http1 };
        let proxy = Apart::start(name, &format!("{} {is_http2}", backend.address));
        drop(Reader::begin(&proxy, kind).await);
        let before = proxy.memory();
        let readers: Vec<_> = stream::iter(0..READERS)
            .map(|_| Reader::begin(&proxy, kind))
            .buffer_unordered(500)
            .collect()
            .await;
        settle(&sent).await;
        held.push((is_http2, kind, proxy.memory().saturating_sub(before) / READERS as u64));
        drop(readers);
    }
    println!("bytes for each of {READERS}: {held:?}");
    assert!(held.iter().all(|(.., each)| *each <= MOST), "more than {MOST} bytes: {held:?}");
}

/// What the process with the proxy does.
fn serve(backend: SocketAddr, is_http2: bool) {
    let hour = Duration::from_secs(3600);
    let timeouts = Timeouts { download: hour, idle: hour, response: hour, ..Timeouts::default() };
    let table = Table::default().certificate("a", &certificate(lb_agent::model::KeyKind::Ecdsa, &["a"]));
    let table = table.default_spoken(&[backend], protocol(is_http2, None)).build();
    apart::serve(&Fixture::start_with(timeouts, table));
}

/// Answers each request by a GiB, and counts what it could send of it.
async fn backend(sent: Arc<AtomicU64>) -> RawBackend {
    RawBackend::start(move |_, mut stream| {
        let sent = sent.clone();
        async move {
            // What waits in the kernel is not what is measured.
            SockRef::from(&stream).set_send_buffer_size(64 * 1024).expect("a buffer");
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n");
            let mut written = stream.write_all(head.as_bytes()).await.map(|()| 0);
            while let Ok(bytes) = written {
                sent.fetch_add(bytes as u64, Ordering::Relaxed);
                written = stream.write(&[b'x'; 64 * 1024]).await;
            }
        }
    })
    .await
}

/// The same over HTTP/2.
async fn http2_backend(sent: Arc<AtomicU64>) -> RawBackend {
    RawBackend::start(move |_, stream| {
        let sent = sent.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let sent = sent.clone();
                tokio::spawn(async move {
                    let head = http::Response::builder().header("content-length", GIB);
                    let mut body =
                        respond.send_response(head.body(()).expect("a head"), false).expect("it is sent");
                    body.reserve_capacity(1 << 20);
                    while let Some(Ok(_)) = poll_fn(|cx| body.poll_capacity(cx)).await {
                        let bytes = body.capacity();
                        let Ok(()) = body.send_data(vec![b'x'; bytes].into(), false) else { return };
                        sent.fetch_add(bytes as u64, Ordering::Relaxed);
                        body.reserve_capacity(1 << 20);
                    }
                });
            }
        }
    })
    .await
}

/// Waits until nobody gets any more.
async fn settle(sent: &AtomicU64) {
    let (mut last, mut same) = (0, 0);
    while same < 5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection on which nothing more is read.
struct Reader {
    _stream: Box<dyn Stream>,
}

impl Reader {
    async fn begin(proxy: &Apart, kind: Kind) -> Self {
        let address = if matches!(kind, Kind::Tls) { proxy.https } else { proxy.http };
        let mut stream: Box<dyn Stream> = match kind {
            Kind::Tls => Box::new(connect_tls_over(connect(address).await, "a", &[], all_schemes()).await),
            _ => Box::new(connect(address).await),
        };
        let request = match kind {
            Kind::Http1 | Kind::Tls => b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            Kind::Http2 => get(0x7fff_ffff),
            Kind::Http2Window => get(BEGINNING as u32 - 1),
        };
        stream.write_all(&request).await.expect("sent");
        let mut beginning = (&mut stream).take(BEGINNING);
        tokio::io::copy(&mut beginning, &mut tokio::io::sink()).await.expect("a beginning");
        Self { _stream: stream }
    }
}

/// Takes little into its own kernel's memory.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("a buffer");
    socket.connect(address).await.expect("connect")
}

/// A request over HTTP/2 with this window for its stream, and all there can be for the connection.
fn get(window: u32) -> Vec<u8> {
    let settings = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
    let connection = frame(WINDOW_UPDATE, 0, 0, &0x7f00_0000_u32.to_be_bytes());
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET);
    [PREFACE, &settings, &connection, &get].concat()
}

/// As many as may be: each reader takes two here.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("as many as may be");
}
