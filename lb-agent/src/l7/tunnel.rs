//! WebSocket: after the endpoint's 101, bytes in both directions, over a connection of its own.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::{Body, RequestBody};
use super::client::{Busy, Client};
use super::deadline::Deadline;
use super::headers;
use super::reply::Reply;
use super::target::Target;
use super::worker::Worker;

/// Sends a WebSocket handshake; tunnels if the endpoint agrees, else passes its answer back.
pub(super) async fn open(
    client: &Rc<Client>,
    target: &Arc<Target>,
    mut parts: Parts,
) -> Result<Response<Body>, Reply> {
    let downstream = parts.extensions.remove::<OnUpgrade>();
    parts.extensions.clear();
    headers::set_websocket(&mut parts.headers);
    let request = Request::from_parts(parts, RequestBody::default());
    let stream = connect(&client.worker, target).await?;
    let mut response = shake_hands(&client.worker, stream, request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(pass_back(response));
    }
    let downstream = downstream.filter(|_| headers::wants_websocket(response.headers()));
    let Some(downstream) = downstream else { return Err(Reply::BadResponse) };
    let upstream = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(carry(Busy::new(client), downstream, upstream));
    let (mut parts, _) = response.into_parts();
    headers::prepare_response(&mut parts.headers);
    headers::set_websocket(&mut parts.headers);
    Ok(Response::from_parts(parts, Body::empty()))
}

fn pass_back(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, incoming) = response.into_parts();
    headers::prepare_response(&mut parts.headers);
    Response::from_parts(parts, Body::incoming(incoming))
}

async fn connect(worker: &Worker, target: &Arc<Target>) -> Result<tokio::net::TcpStream, Reply> {
    let endpoints: &[SocketAddr] = target.endpoints()?;
    let first = worker.round.next(target, endpoints.len());
    let (before, from) = endpoints.split_at(first);
    for endpoint in from.iter().chain(before) {
        if let Some(stream) = worker.dial(*endpoint).await {
            return Ok(stream);
        }
    }
    Err(Reply::ConnectFailed)
}

async fn shake_hands(
    worker: &Worker,
    stream: tokio::net::TcpStream,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, Reply> {
    let (mut sender, connection) =
        Builder::new().handshake(TokioIo::new(stream)).await.map_err(|_| Reply::BadResponse)?;
    // Lives on after the handshake: it hands over the socket.
    tokio::task::spawn_local(connection.with_upgrades());
    let deadline = Deadline::new(&worker.deadlines);
    deadline.set(worker.config.timeouts.response);
    match deadline.bound(sender.send_request(request)).await {
        Some(response) => response.map_err(|_| Reply::BadResponse),
        None => Err(Reply::ResponseTimeout),
    }
}

/// Both sides end together; how is theirs to say.
async fn carry(_busy: Busy, downstream: OnUpgrade, upstream: OnUpgrade) {
    let (Ok(downstream), Ok(upstream)) = (downstream.await, upstream.await) else { return };
    let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
    if let Err(error) = tokio::io::copy_bidirectional(&mut downstream, &mut upstream).await {
        tracing::debug!(%error, "tunnel broke");
    }
}
