//! Listens for operators: on a unix socket, on TCP, and for metrics alone on an address of their own.

use std::convert::Infallible;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::stat::{Mode, fchmod};
use prometheus_client::registry::Registry;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::capture::{Captures, Peer};
use super::endpoints::{Scope, answer};
use super::explain::ExplainRequest;
use super::tcp::Place;
use super::{AdminError, AskMembers, Live};
use crate::model::Draining;

/// Connections at one time for each listener: nobody can use up the agent's descriptors here.
const MAX_CONNECTIONS: usize = 64;

/// A request has to be complete within this; an idle connection is closed after it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait this long when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const BACKLOG: i32 = 64;

/// What the endpoints tell of.
#[derive(Debug)]
pub struct State {
    /// The node.
    pub live: Live,
    /// Its metrics.
    pub registry: Arc<Registry>,
    /// Tells it to drain, or not to.
    pub tell: watch::Sender<Option<Draining>>,
    /// Asks the other members for a connection; `None` without a packet path.
    pub members: Option<AskMembers>,
    /// Explains requests.
    pub requests: Option<ExplainRequest>,
    /// What is captured.
    pub captures: Captures,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// All endpoints, and what they can be told, mode 0600.
    pub socket: PathBuf,
    /// All endpoints.
    pub tcp: Option<SocketAddr>,
    /// Metrics and health alone.
    pub metrics: Option<SocketAddr>,
    /// Whether another agent may still have the TCP addresses, until it hands over.
    pub may_wait: bool,
}

/// The listening sockets.
#[derive(Debug)]
pub struct Server {
    socket: UnixListener,
    tcp: Option<Place>,
    metrics: Option<Place>,
}

impl Server {
    /// Opens the sockets. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// `AdminError` with the address or the path.
    pub async fn bind(addresses: &Addresses) -> Result<Self, AdminError> {
        Ok(Self {
            socket: bind_unix(&addresses.socket)?,
            tcp: bind_tcp(addresses.tcp, addresses.may_wait).await?,
            metrics: bind_tcp(addresses.metrics, addresses.may_wait).await?,
        })
    }

    /// Where all endpoints are on TCP, with the port that the kernel chose for port 0.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(Place::local_address)
    }

    /// As `tcp_address`, for metrics and health alone.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Place::local_address)
    }

    /// Answers on the current runtime, for as long as it is polled.
    pub async fn run(self, state: Arc<State>) -> Infallible {
        let tcp = self.tcp.map(|place| place.run(Scope::All, &state));
        let metrics = self.metrics.map(|place| place.run(Scope::Metrics, &state));
        let socket = accept(Listening::Unix(self.socket), Scope::Own, &state);
        tokio::join!(socket, maybe(tcp), maybe(metrics)).0
    }
}

async fn maybe(accepting: Option<impl Future<Output = Infallible>>) -> Infallible {
    match accepting {
        Some(accepting) => accepting.await,
        None => std::future::pending().await,
    }
}

pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Answers what connects; with this, its connections end.
pub(super) async fn accept(listening: Listening, scope: Scope, state: &Arc<State>) -> Infallible {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = match &listening {
            Listening::Tcp(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| connections.spawn(serve(stream, Peer::default(), permit, scope, state))),
            Listening::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| (peer(&stream), stream))
                .map(|(peer, stream)| connections.spawn(serve(stream, peer, permit, scope, state))),
        };
        if let Err(error) = accepted {
            warn!(%error, "cannot accept an admin connection");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

fn peer(stream: &tokio::net::UnixStream) -> Peer {
    let found = stream.peer_cred().ok();
    Peer { process: found.and_then(|found| Some((found.pid()?, found.uid()))) }
}

fn serve<S>(
    stream: S,
    peer: Peer,
    permit: OwnedSemaphorePermit,
    scope: Scope,
    state: &Arc<State>,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let state = Arc::clone(state);
    async move {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let state = &state;
            async move { Ok::<_, Infallible>(answer(request, scope, state).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            debug!(%error, "admin connection");
        }
        drop(permit);
    }
}

async fn bind_tcp(address: Option<SocketAddr>, may_wait: bool) -> Result<Option<Place>, AdminError> {
    match address {
        Some(address) => Place::bind(address, may_wait).await.map(Some),
        None => Ok(None),
    }
}

fn bind_unix(path: &Path) -> Result<UnixListener, AdminError> {
    let error = |source| AdminError::Socket { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(error)?;
    }
    remove_stale(path)?;
    let listener = listen_privately(path).map_err(error)?;
    info!(path = %path.display(), "admin listens");
    Ok(listener)
}

/// Removes a socket file on which nobody listens, and nothing else.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let error = |source| AdminError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(found) if found.kind() == ErrorKind::NotFound => return Ok(()),
        Err(found) => return Err(error(found)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(found) if found.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(error),
        Err(found) => Err(error(found)),
        Ok(_) => Err(AdminError::SocketInUse { path: path.to_owned() }),
    }
}

/// The file takes its mode from the socket as it is bound: nobody else can connect at any moment.
fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::client::{Probe, health};
    use super::super::live::tests::live;
    use super::*;
    use crate::model::{Snapshot, Turn};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn addresses(folder: &Path) -> Addresses {
        let socket = folder.join("run/admin.sock");
        Addresses { socket, tcp: Some(LOOPBACK), metrics: Some(LOOPBACK), may_wait: false }
    }

    fn state(live: Live) -> Arc<State> {
        Arc::new(State {
            live,
            registry: Arc::default(),
            tell: watch::Sender::default(),
            members: None,
            requests: None,
            captures: Captures::default(),
        })
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        try_ask(address, path).await.expect("something listens")
    }

    async fn try_ask(address: SocketAddr, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    }

    #[tokio::test]
    async fn health_follows_the_node_over_the_unix_socket() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addresses = addresses(folder.path());
        let server = Server::bind(&addresses).await.expect("the folder is made");
        let proxy = watch::Sender::new(0);
        let live = Live { proxy: proxy.subscribe(), ..live(None, 0, Some(Snapshot::default())) };
        let running = tokio::spawn(server.run(state(live)));

        let before = health(&addresses.socket, Probe::Ready).await.expect("an answer");
        assert!(!before.is_well && before.message.contains("the proxy serves no snapshot yet"), "{before:?}");
        let alive = health(&addresses.socket, Probe::Live).await.expect("an answer");
        assert!(alive.is_well, "{alive:?}");
        proxy.send_replace(1);
        let after = health(&addresses.socket, Probe::Ready).await.expect("an answer");
        assert!(after.is_well, "{after:?}");

        running.abort();
        assert!(running.await.is_err_and(|end| end.is_cancelled()));
        let gone = health(&addresses.socket, Probe::Ready).await.expect_err("nobody listens").to_string();
        assert!(gone.contains("no agent answers on"), "{gone}");
    }

    #[tokio::test]
    async fn the_metrics_address_shows_no_state() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::bind(&addresses(folder.path())).await.expect("free ports");
        let (all, metrics) = (server.tcp_address(), server.metrics_address());
        let running = tokio::spawn(server.run(state(live(Some(1), 1, Some(Snapshot::default())))));
        let (all, metrics) = (all.expect("TCP is on"), metrics.expect("TCP is on"));
        assert!(ask(all, "/debug/snapshot").await.starts_with("HTTP/1.1 200"));
        assert!(ask(metrics, "/debug/snapshot").await.starts_with("HTTP/1.1 404"));
        assert!(ask(metrics, "/metrics").await.starts_with("HTTP/1.1 200"));
        assert!(ask(metrics, "/readyz").await.starts_with("HTTP/1.1 200"));
        running.abort();
    }

    #[tokio::test]
    async fn an_address_goes_to_the_next_agent_and_comes_back() {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
        let turns = [Turn::Holding, Turn::Waiting].map(watch::Sender::new);
        let agent = |which: usize| Live {
            version: ["first", "second"][which],
            turn: turns[which].subscribe(),
            ..live(Some(1), 1, Some(Snapshot::default()))
        };
        let first = Server::bind(&addresses(folders[0].path())).await.expect("a free port");
        let address = first.tcp_address().expect("TCP is on");
        let same = Addresses { tcp: Some(address), may_wait: true, ..addresses(folders[1].path()) };
        let second = Server::bind(&same).await.expect("it waits for the address");
        let impatient = Addresses { may_wait: false, ..same };
        assert!(matches!(Server::bind(&impatient).await, Err(AdminError::SocketInUse { .. })));
        let running = [first.run(state(agent(0))), second.run(state(agent(1)))].map(tokio::spawn);
        for (holder, version) in [(0, "first"), (1, "second"), (0, "first")] {
            turns[1 - holder].send_replace(Turn::After);
            turns[holder].send_replace(Turn::Holding);
            let answers = async {
                while !try_ask(address, "/debug/snapshot").await.is_ok_and(|text| text.contains(version)) {
                    sleep(ACCEPT_PAUSE).await;
                }
            };
            tokio::time::timeout(READ_TIMEOUT, answers).await.expect(version);
        }
        running.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn the_socket_is_private_and_replaces_only_a_stale_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        let first = bind_unix(&path).expect("nothing is there");
        let mode = fs::metadata(&path).expect("the socket is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(bind_unix(&path), Err(AdminError::SocketInUse { .. })));
        drop(first);
        bind_unix(&path).expect("the first is stale");
        let file = folder.path().join("file");
        fs::write(&file, "precious").expect("writable");
        assert!(matches!(bind_unix(&file), Err(AdminError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
    }
}
