//! Clients that read slowly: what the proxy holds for each of them is little. It is measured from outside, of a process
//! that has the proxy and nothing else.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lb_agent::l7::Timeouts;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{Fixture, RawBackend, Table, read_head};

const READERS: usize = 1000;

/// Of user memory, for each.
const MOST: u64 = 128 * 1024;

/// Of a response.
const GIB: u64 = 1 << 30;

/// What each has read before it stops.
const BEGINNING: u64 = 64 * 1024;

/// Tells the process that has the proxy who the backend is.
const BACKEND: &str = "LB_TEST_BACKEND";

#[tokio::test]
async fn a_thousand_slow_readers_hold_little_memory() {
    if let Ok(backend) = std::env::var(BACKEND) {
        return serve(backend.parse().expect("an address"));
    }
    raise_descriptors();
    let sent = Arc::<AtomicU64>::default();
    let backend = backend(sent.clone()).await;
    let proxy = Proxy::start(backend.address);
    drop(read_beginning(proxy.address).await);
    let before = proxy.memory();
    let readers: Vec<_> =
        stream::iter(0..READERS).map(|_| read_beginning(proxy.address)).buffer_unordered(50).collect().await;
    settle(&sent).await;
    let each = proxy.memory().saturating_sub(before) / READERS as u64;
    assert!(each <= MOST, "{each} bytes for each of {READERS}");
    drop(readers);
}

/// What the process with the proxy does, until its standard input ends.
fn serve(backend: SocketAddr) {
    let hour = Duration::from_secs(3600);
    let timeouts = Timeouts { download: hour, idle: hour, response: hour, ..Timeouts::default() };
    let fixture = Fixture::start_with(timeouts, Table::all_to(&[backend]));
    println!("\nlistening {}", fixture.http());
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
}

/// The process that has it; ended when it is dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(backend: SocketAddr) -> Self {
        let name = "slow_readers::a_thousand_slow_readers_hold_little_memory";
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([name, "--exact", "--nocapture"])
            .env(BACKEND, backend.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening ").and_then(|address| address.parse().ok()));
        Self { child, address: address.expect("it listens") }
    }

    /// Memory in use.
    fn memory(&self) -> u64 {
        1024 * lb_tests::proc::resident_kib(self.child.id()).expect("it runs")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
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

/// Begins to read a response, and then reads nothing more.
async fn read_beginning(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Takes little into its own kernel's memory.
    socket.set_recv_buffer_size(8 * 1024).expect("a buffer");
    let mut stream = socket.connect(address).await.expect("connect");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut beginning = (&mut stream).take(BEGINNING);
    tokio::io::copy(&mut beginning, &mut tokio::io::sink()).await.expect("a beginning");
    stream
}

/// As many as may be: each reader takes two here.
fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("as many as may be");
}
