//! The same bytes, and servers that others wrote behind us: each sees as many requests as were passed on to it. Whatever
//! one of them took for a request more would have been smuggled in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lb_agent::l7::Config;
use lb_agent::l7::access_log::{AccessLog, Format, Settings};
use lb_agent::metrics::AccessLogMetrics;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{Fixture, Table, eventually, raw_exchange, source};

/// How a server is started at an address, with a folder of its own.
type Starts = fn(&Path, SocketAddr) -> Command;

const SERVERS: [(&str, Starts); 5] = [
    ("nginx", |folder, address| {
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(configuration(folder, "backends/nginx.conf", address)).arg("-p").arg(folder);
        nginx
    }),
    ("haproxy", |folder, address| {
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(configuration(folder, "backends/haproxy.cfg", address));
        haproxy
    }),
    ("node", |_, address| ours(Path::new("node"), Some("backends/backend.js"), address)),
    ("python", |_, address| ours(Path::new("python3"), Some("backends/backend.py"), address)),
    ("go", |_, address| {
        let built = std::env::var_os("LB_GO_BACKEND").map(PathBuf::from);
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster/go-backend");
        ours(&built.unwrap_or(usual), None, address)
    }),
];

/// A server of a few lines.
fn ours(program: &Path, file: Option<&str>, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.args(file.map(source)).arg(address.to_string());
    command
}

fn configuration(folder: &Path, name: &str, address: SocketAddr) -> PathBuf {
    let text = std::fs::read_to_string(source(name)).expect("a template");
    let folder_name = folder.to_str().expect("text");
    let text = text.replace("@ADDRESS@", &address.to_string()).replace("@FOLDER@", folder_name);
    let file = folder.join("configuration");
    std::fs::write(&file, text).expect("written");
    file
}

/// One of them; ended when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Server {
    async fn start(name: &str, starts: Starts) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let child = starts(folder.path(), address).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{name}: {error}: `cargo xtask test proxy` installs it"));
        let server = Self { child, address, folder };
        eventually(name, || std::net::TcpStream::connect(address).is_ok()).await;
        server
    }

    /// The requests that it has seen, this one included, and those of them that clients tried to smuggle in.
    async fn count(&self) -> [u64; 2] {
        let answer =
            raw_exchange(self.address, b"GET /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let numbers = |line: &str| line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
        // nginx says more: the third number of a line; those to one path are in a log.
        let line = answer.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1);
        if let Some([_, _, seen]) = line.map(numbers).and_then(Result::ok).as_deref() {
            let smuggled = std::fs::read_to_string(self.folder.path().join("smuggled")).expect("a log");
            return [*seen, smuggled.lines().count() as u64];
        }
        let said = answer.lines().filter_map(|line| numbers(line).ok());
        said.filter_map(|said| said.try_into().ok()).next().unwrap_or_else(|| panic!("{answer}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// What clients send: the corpus of the parser, and messages that are well-formed and hard to read.
fn cases() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/http1");
    let files = std::fs::read_dir(corpus).expect("a corpus");
    let mut cases: Vec<_> =
        files.map(|file| std::fs::read(file.expect("an entry").path()).expect("a file")).collect();
    for lines in [
        "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
        "transfer-encoding:\tchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0005\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n00\r\n\r\n",
        "transfer_encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "content_length: 0\r\ncontent-length: 5\r\n\r\nhello",
        "content-length: 05\r\n\r\nhello",
        "content-length: 0\r\nconnection: content-length\r\n\r\n",
        "connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        // Its body is what would be smuggled.
        "content-length: 35\r\nexpect: 100-continue\r\n\r\n",
        "content-length: 0\r\nupgrade: h2c\r\nconnection: upgrade\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        // Longer than all that comes.
        "content-length: 38\r\n\r\n",
        "\r\n",
    ] {
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            cases.push(format!("{method} / HTTP/1.1\r\nhost: a\r\n{lines}{SMUGGLED}").into_bytes());
        }
    }
    cases
}

/// Sends these, each over a connection of its own, and takes what comes until that is closed.
async fn send(address: SocketAddr, cases: &[Vec<u8>]) {
    let all = cases.iter().map(|bytes| async move {
        let mut client = TcpStream::connect(address).await.expect("connect");
        // Of what is refused, not all may be taken.
        _ = client.write_all(bytes).await;
        let ended = timeout(Duration::from_secs(20), client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "it does not end: {:?}", String::from_utf8_lossy(bytes));
    });
    futures_util::future::join_all(all).await;
}

/// A proxy with a log of what it does.
struct Logged {
    fixture: Fixture,
    folder: TempDir,
}

impl Logged {
    fn start(backend: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { path: Some(folder.path().join("log")), format: Format::JSON, sample: 1 };
        let log = AccessLog::start(settings, AccessLogMetrics::new(&mut Registry::default()));
        let log = log.expect("a log");
        // The requests of all clients at once, on a slow machine.
        let patient = Duration::from_secs(60);
        let set = |config: &mut Config| {
            Fixture::be_quick(config);
            config.timeouts.response = patient;
            config.timeouts.connect = patient;
            config.access_log = Some(log);
        };
        Self { fixture: Fixture::start_as(set, Table::all_to(&[backend])), folder }
    }

    /// So many requests were passed on.
    async fn passed_on(&self) -> PassedOn {
        eventually("all clients are gone", || self.fixture.proxy.left().total() == 0).await;
        let last = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        raw_exchange(self.fixture.http(), last).await;
        let read = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        // A worker's lines are in order.
        eventually("the last line is there", || read().contains("\"/last\"") && read().ends_with('\n')).await;
        let log = read();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut all = PassedOn::default();
        for line in lines {
            let attempts = line["attempts"].as_u64().unwrap_or_default();
            // Of one whose body does not come or is wrong, the endpoint may have seen the head.
            let is_sure = line["blame"] != "client";
            assert!(line["blame"].is_null() || !is_sure, "{line}");
            all.least += if is_sure { attempts } else { 0 };
            all.most += attempts;
            if line["path"] == "/smuggled" {
                assert!(is_sure && attempts == 1, "it is a request of its own: {line}");
                all.smuggled += 1;
            }
        }
        all
    }
}

/// Requests that were passed on.
#[derive(Default, Debug)]
struct PassedOn {
    /// As many of them have come to the server as are sure to, and as may have.
    least: u64,
    most: u64,
    /// Those to the path of `SMUGGLED`: requests by the letter, since what was before them had ended.
    smuggled: u64,
}

#[tokio::test]
async fn each_server_sees_what_was_passed_on() {
    let cases = cases();
    for (name, starts) in SERVERS {
        let server = Server::start(name, starts).await;
        let proxy = Logged::start(server.address);
        let before = server.count().await;
        send(proxy.fixture.http(), &cases).await;
        let passed_on = proxy.passed_on().await;
        let [seen, smuggled] = server.count().await;
        let seen = seen - before[0] - 1;
        println!("{name}: {seen} requests of {} connections", cases.len());
        let PassedOn { least, most, .. } = passed_on;
        assert!(least > 20 && (least..=most).contains(&seen), "{name} saw {seen}, of {passed_on:?}");
        assert!(passed_on.smuggled > 0, "{passed_on:?}");
        assert_eq!(smuggled, passed_on.smuggled, "{name} saw others, of {passed_on:?}");
    }
}
