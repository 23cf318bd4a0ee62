//! The clients: some of each kind, all the time, each exchange checked.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::site::Targets;
use super::tally::{Kind, Tally};
use crate::chaos::client::http1::Http;
use crate::chaos::client::messages;
use crate::lab::site::SHOP;
use crate::pattern::Pattern;

/// Clients of each kind.
const EACH: usize = 4;
/// Exchanges on one connection.
const EXCHANGES: usize = 50;
/// Between two exchanges of one client: so many clients that the machine is busy, and not so many that it is full.
const PAUSE: Duration = Duration::from_millis(20);
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a body.
const LARGE: u64 = 1 << 20;

/// Clients at work.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<()>>,
}

impl Load {
    /// Lets all clients finish what they are at.
    pub(super) fn end(self) -> Result<()> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| anyhow!("the clients panicked"))?
    }
}

pub(super) fn start(targets: Targets, tally: Arc<Tally>) -> Result<Load> {
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("clients".into()).spawn(move || {
        runtime.block_on(async move {
            let mut clients = JoinSet::new();
            for number in 0..EACH {
                for kind in Kind::ALL {
                    let client = Client { kind, number, targets: targets.clone() };
                    clients.spawn(client.live(tally.clone(), stopped.clone()));
                }
            }
            while let Some(ended) = clients.join_next().await {
                ended?;
            }
            Ok(())
        })
    })?;
    Ok(Load { stop, thread })
}

#[derive(Clone)]
struct Client {
    kind: Kind,
    number: usize,
    targets: Targets,
}

impl Client {
    async fn live(self, tally: Arc<Tally>, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let done = timeout(PATIENCE, self.once()).await;
            tally.count(self.kind, done.unwrap_or_else(|_| bail!("nothing for {PATIENCE:?}")));
            sleep(PAUSE).await;
        }
    }

    /// One connection.
    async fn once(&self) -> Result<()> {
        match self.kind {
            Kind::KeepAlive => keep_alive(self.clear().await?, EXCHANGES).await,
            Kind::Connect => keep_alive(self.clear().await?, 1).await,
            Kind::Tls => keep_alive(self.secure(&[]).await?, EXCHANGES).await,
            Kind::Http2 => http2(self.secure(&[b"h2"]).await?).await,
            Kind::WebSocket => websocket(self.clear().await?, self.number as u64).await,
            Kind::Download => download(self.clear().await?, self.number as u64).await,
            Kind::Upload => upload(self.clear().await?, self.number as u64).await,
            Kind::Abort => abort(self.clear().await?).await,
            Kind::Malformed => malformed(self.clear().await?).await,
        }
    }

    async fn clear(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.targets.http).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn secure(&self, alpn: &[&[u8]]) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.targets.https).await?;
        let mut config = ClientConfig::clone(&self.targets.tls);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SHOP)?, stream).await?)
    }
}

async fn keep_alive(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    exchanges: usize,
) -> Result<()> {
    let mut http = Http::new(stream);
    for _ in 0..exchanges {
        http.exchange("").await?;
        sleep(PAUSE / 10).await;
    }
    Ok(())
}

async fn http2(stream: tokio_rustls::client::TlsStream<TcpStream>) -> Result<()> {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    for number in 0..EXCHANGES {
        let path = if number % 10 == 0 { "/bytes/100000" } else { "/" };
        let request = Request::get(format!("https://{SHOP}{path}")).body(Empty::<Bytes>::new())?;
        let response = sender.clone().send_request(request).await?;
        ensure!(response.status() == 200, "status {}", response.status());
        if number % 7 == 0 {
            // Taken back in the middle.
            continue;
        }
        response.into_body().collect().await?;
    }
    drop(sender);
    connection.await??;
    Ok(())
}

async fn websocket(stream: TcpStream, seed: u64) -> Result<()> {
    let mut http = Http::new(stream);
    let head = http.get("/messages", messages::UPGRADE).await?;
    ensure!(head.status == 101, "status {}", head.status);
    let mut pattern = Pattern::new(seed);
    for _ in 0..EXCHANGES {
        messages::echo(&mut http, &mut pattern).await?;
    }
    Ok(messages::close(&mut http).await?)
}

async fn download(stream: TcpStream, seed: u64) -> Result<()> {
    let mut http = Http::new(stream);
    let head = http.get(&format!("/pattern/{seed}/{LARGE}/{LARGE}"), "").await?;
    ensure!((head.status, head.length) == (200, LARGE), "{head:?}");
    let mut pattern = Pattern::new(seed);
    while pattern.at() < LARGE {
        let part = http.some().await?;
        pattern.check(&part).map_err(|wrong| anyhow!("wrong byte at {}", wrong.at))?;
    }
    Ok(())
}

async fn upload(stream: TcpStream, seed: u64) -> Result<()> {
    let mut http = Http::new(stream);
    let head = format!("POST /check/{seed} HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: {LARGE}\r\n\r\n");
    http.send(head.as_bytes()).await?;
    let mut pattern = Pattern::new(seed);
    while pattern.at() < LARGE {
        http.send(&pattern.take(64 * 1024)).await?;
    }
    let head = http.head().await?;
    let body = http.body(head.length).await?;
    ensure!(head.status == 200 && body == format!("{LARGE}\n"), "status {}: {body:?}", head.status);
    Ok(())
}

/// Gone in the middle of a request, or of a response.
async fn abort(mut stream: TcpStream) -> Result<()> {
    let half = format!("POST /check/1 HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: 1000\r\n\r\nhalf");
    stream.write_all(half.as_bytes()).await?;
    Ok(())
}

async fn malformed(mut stream: TcpStream) -> Result<()> {
    let request =
        format!("GET / HTTP/1.1\r\nHost: {SHOP}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    Ok(())
}
