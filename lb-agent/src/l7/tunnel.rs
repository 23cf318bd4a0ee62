//! WebSocket: after the endpoint's 101, bytes in both directions, over a connection of its own. What a client of HTTP/2
//! asks for by CONNECT (RFC 8441), the endpoint is asked for by an upgrade of HTTP/1.1.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::access_log::Notes;
use super::admission::Guest;
use super::body::{Body, RequestBody};
use super::breach::Breaches;
use super::client::{Busy, Client};
use super::deadline::Deadline;
use super::ejection::Offence;
use super::endpoint::{EndpointConnection, Failure};
use super::exchange::Exchange;
use super::frames::{CLOSE_TO_CLIENT, close_to_server};
use super::guard::Guarded;
use super::headers;
use super::http2::Opening;
use super::incoming::Incoming;
use super::policy::Hints;
use super::pump::Pump;
use super::reply::{CONNECTED, Reply};
use super::route::Route;
use super::secured::EndpointStream;
use super::shortage::Unconnected;
use super::target::Target;
use super::tries::Tries;
use super::upstream::Turn;
use super::worker::Worker;
use crate::model::{ConnectionKind, LAST_WORDS, ListenerProtocol};

/// A client's end of a tunnel that is about to be.
enum Downstream {
    /// All of its connection, over which HTTP/1.1 came.
    Connection(OnUpgrade),
    /// A stream of HTTP/2.
    Stream(Opening),
}

/// What an open tunnel takes, until it is dropped.
struct Taken {
    /// At its endpoint.
    _turn: Turn,
    /// Among the connections, if it is a stream of one.
    _place: Option<Guest>,
}

/// Sends a WebSocket handshake; tunnels if the endpoint agrees, else passes its answer back.
pub(super) async fn open(
    client: Rc<Client>,
    route: Arc<Route>,
    mut parts: Parts,
    body: Incoming,
    notes: Option<Rc<Notes>>,
) -> Result<Response<Body>, Reply> {
    let downstream = match body {
        Incoming::Tunnel(opening) => Some(Downstream::Stream(opening)),
        _ => parts.extensions.remove::<OnUpgrade>().map(Downstream::Connection),
    };
    let is_stream = headers::asks_for_websocket(&parts);
    let mut place = None;
    if is_stream {
        headers::into_handshake(&mut parts);
        let admitted = client.admit_tunnel().inspect_err(|limit| client.worker.metrics.limit_reached(*limit));
        place = Some(admitted.map_err(|_| Reply::Overloaded)?);
    }
    parts.extensions.clear();
    headers::set_websocket(&mut parts.headers);
    client.origin.tell(&mut parts.headers);
    let hints = Hints::of(&route, &parts, client.protocol == ListenerProtocol::Https);
    let request = Request::from_parts(parts, RequestBody::default());
    let (stream, turn, tries) = connect(&client, &route.target, hints, &request, notes.clone()).await?;
    let within = route.target.treatment.times.attempt.unwrap_or(client.worker.config.timeouts.response);
    let breaches = &turn.upstream().breaches;
    let shaken = shake_hands(&client.worker, breaches, within, stream, request).await;
    let (ejection, metrics) = (&client.worker.config.ejection, &client.worker.metrics);
    let (response, connection) = shaken.inspect_err(|reply| {
        let offence = if *reply == Reply::ResponseTimeout { Offence::TimeOut } else { Offence::Broken };
        tries.failed(&turn, offence, ejection, metrics);
        turn.failed();
    })?;
    tries.answered(&turn, (response.status(), response.headers()), ejection, metrics);
    turn.answered(None);
    notes.iter().for_each(|notes| notes.answered());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // To a CONNECT, a status of success would say that the tunnel is there.
        if is_stream && response.status().is_success() {
            return Err(Reply::BadResponse);
        }
        let mut response = pass_back(response, connection);
        tries.tell_client(response.headers_mut());
        return Ok(response);
    }
    let downstream = downstream.filter(|_| headers::wants_websocket(response.headers()));
    let Some(downstream) = downstream else { return Err(Reply::BadResponse) };
    if !is_stream {
        client.passage.become_tunnel();
    }
    turn.becomes_tunnel();
    let taken = Taken { _turn: turn, _place: place };
    tokio::task::spawn_local(carry(Busy::tunnel(&client), taken, downstream, connection));
    let (mut parts, _) = response.into_parts();
    headers::prepare_response(&mut parts);
    if is_stream {
        parts.status = CONNECTED;
        parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
        parts.headers.remove(CONTENT_LENGTH);
    } else {
        headers::set_websocket(&mut parts.headers);
    }
    tries.tell_client(&mut parts.headers);
    Ok(Response::from_parts(parts, Body::empty()))
}

fn pass_back(response: Response<()>, connection: Box<EndpointConnection>) -> Response<Body> {
    let (mut parts, ()) = response.into_parts();
    headers::prepare_response(&mut parts);
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, Body::exchange(Box::new(Exchange::new(connection, None))))
}

async fn connect(
    client: &Client,
    target: &Arc<Target>,
    hints: Hints,
    request: &Request<RequestBody>,
    notes: Option<Rc<Notes>>,
) -> Result<(EndpointStream, Turn, Tries), Reply> {
    let worker = &client.worker;
    let mut tries = Tries::new(worker.upstreams.of(target)?, hints).noted(notes);
    let first = tries.first(&worker.metrics, || Duration::MAX, || worker.endpoints(client, request)).await?;
    // What it waited for may be another Service by now, to which there are no tunnels.
    let takes_tunnels = |turn: &Turn| !turn.upstream().protocol.is_http2;
    let mut next = Some(first).filter(takes_tunnels);
    let mut last_word = Reply::ConnectFailed;
    while let Some(turn) = next {
        tries.tried(&turn);
        let within = tries.treatment().times.connect.unwrap_or(worker.config.timeouts.connect);
        match worker.open(&turn, client.ends(), within).await {
            Ok(stream) => return Ok((stream, turn, tries)),
            Err(Unconnected::Short) => last_word = Reply::Overloaded,
            Err(Unconnected::Refused) => {
                last_word = Reply::ConnectFailed;
                tries.failed(&turn, Offence::Connect, &worker.config.ejection, &worker.metrics);
            }
        }
        turn.failed();
        let Ok(by_now) = worker.endpoints(client, request) else { break };
        tries.go_by(by_now);
        next = tries.after_no_connection(&worker.metrics).filter(takes_tunnels);
    }
    Err(last_word)
}

async fn shake_hands(
    worker: &Worker,
    breaches: &Rc<Breaches>,
    within: Duration,
    stream: EndpointStream,
    mut request: Request<RequestBody>,
) -> Result<(Response<()>, Box<EndpointConnection>), Reply> {
    let mut connection = Box::new(EndpointConnection::new(stream, &worker.deadlines, breaches));
    connection.deadline.set(within);
    match connection.send(&mut request, None, false).await {
        Ok(response) => Ok((response, connection)),
        Err(Failure::TimedOut(breach)) => {
            breaches.tell(breach);
            Err(Reply::ResponseTimeout)
        }
        Err(failure) => {
            if let Failure::Broken(breach) = failure {
                breaches.tell(breach);
            }
            Err(Reply::BadResponse)
        }
    }
}

async fn carry(busy: Busy, taken: Taken, downstream: Downstream, connection: Box<EndpointConnection>) {
    match downstream {
        Downstream::Connection(upgrade) => {
            if let Ok(client) = upgrade.await {
                carry_connection(busy, client, connection).await;
            }
        }
        Downstream::Stream(opening) => {
            if let Some(client) = opening.wait().await {
                let (upstream, came) = connection.into_stream();
                carry_between(busy, true, client, upstream, came).await;
            }
        }
    }
    // Its endpoint's connection is closed by now.
    drop(taken);
}

/// In the clear, from socket to socket, without what HTTP needs in between.
async fn carry_connection(busy: Busy, downstream: Upgraded, connection: Box<EndpointConnection>) {
    let (mut upstream, came) = connection.into_stream();
    let downstream = match &mut upstream {
        EndpointStream::Clear(endpoint) => match into_socket(downstream) {
            Ok((mut client, sent)) => {
                let (from_client, to_client) = client.split();
                let (from_endpoint, to_endpoint) = endpoint.split();
                let down = Pump::new(from_endpoint, to_client, &came);
                let up = Pump::new(from_client, to_endpoint, &sent);
                drop((came, sent));
                return pass_on(busy, false, down, up).await;
            }
            Err(downstream) => downstream,
        },
        EndpointStream::Tls(_) => downstream,
    };
    carry_between(busy, false, TokioIo::new(downstream), upstream, came).await;
}

/// What the endpoint sent already goes first.
async fn carry_between(
    busy: Busy,
    is_stream: bool,
    downstream: impl AsyncRead + AsyncWrite,
    upstream: EndpointStream,
    came: BytesMut,
) {
    let (from_client, to_client) = split(downstream);
    let (from_endpoint, to_endpoint) = split(upstream);
    let down = Pump::new(from_endpoint, to_client, &came);
    drop(came);
    pass_on(busy, is_stream, down, Pump::new(from_client, to_endpoint, &[])).await;
}

/// A client's socket, if HTTP/1.1 came over it in the clear, and what was read of it already.
fn into_socket(downstream: Upgraded) -> Result<(TcpStream, Vec<u8>), Upgraded> {
    let parts = downstream.downcast::<TokioIo<Guarded<TcpStream>>>()?;
    let (rest, stream) = parts.io.into_inner().into_parts();
    Ok((stream, [parts.read_buf, rest].concat()))
}

/// Both sides end together; how is theirs to say, up to the deadline of a drain. A stream of HTTP/2 is not all of its
/// client's connection.
async fn pass_on<A, B, C, D>(busy: Busy, is_stream: bool, mut down: Pump<A, B>, mut up: Pump<C, D>)
where
    A: AsyncRead + Unpin,
    B: AsyncWrite + Unpin,
    C: AsyncRead + Unpin,
    D: AsyncWrite + Unpin,
{
    let client = busy.client();
    if !is_stream {
        client.carries(ConnectionKind::WebSocket);
    }
    let woken = Deadline::new(&client.worker.deadlines);
    let overdue = tokio::select! {
        result = async { tokio::try_join!(down.run(), up.run()) } => {
            if let Err(error) = result {
                tracing::debug!(%error, "tunnel broke");
                // What the endpoint said last may be unread yet: it was the other direction that broke.
                _ = timeout(LAST_WORDS / 2, down.run()).await;
                if is_stream {
                    // A stream that is dropped before its end takes along what its client has not got yet.
                    _ = down.shutdown().await;
                }
            }
            false
        }
        () = poll_fn(|cx| client.poll_overdue(&woken, cx)) => true,
    };
    if overdue {
        if !is_stream {
            client.cut();
        }
        if !timeout(LAST_WORDS / 2, go_away(&mut down, &mut up)).await.is_ok_and(|told| told.is_ok()) {
            tracing::debug!("a tunnel is closed without both Close frames");
        }
        // Over TLS by a close_notify, also where the client was not told or does not answer.
        if !timeout(LAST_WORDS / 2, down.shutdown()).await.is_ok_and(|closed| closed.is_ok()) {
            tracing::debug!("a tunnel is cut");
        }
    }
}

/// Tells both sides by a Close frame 1001, which may stand between any two frames, of one message too, and nowhere
/// else: a side that is in the middle of a frame, and does not come to its end in time, sees its TCP connection close
/// instead. Then it is the client's turn to answer, and ours to close the connection (RFC 6455 section 7.1.1).
async fn go_away<A, B, C, D>(down: &mut Pump<A, B>, up: &mut Pump<C, D>) -> io::Result<()>
where
    A: AsyncRead + Unpin,
    B: AsyncWrite + Unpin,
    C: AsyncRead + Unpin,
    D: AsyncWrite + Unpin,
{
    let to_endpoint = close_to_server(fastrand::u32(..).to_ne_bytes());
    let (to_client, _) = tokio::join!(down.close_with(&CLOSE_TO_CLIENT), up.close_with(&to_endpoint));
    to_client?;
    up.wait_for_close().await
}
