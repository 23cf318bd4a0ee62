//! A request's way: settled, matched, sent to an endpoint, its response passed back.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};

use super::body::{Body, RequestBody};
use super::candidates::Tries;
use super::client::{Busy, Client};
use super::deadline::Deadline;
use super::ejection::Fault;
use super::endpoint::{EndpointConnection, Failure};
use super::exchange::Exchange;
use super::limits::Limit;
use super::reply::Reply;
use super::target::Target;
use super::upload::{Pace, Upload};
use super::upstream::Turn;
use super::worker::Worker;
use super::{authority, headers, path_policy, tunnel};
use crate::model::{Host, plain_path};

/// Answers one request of a client, which is busy from now on, not only when the answer is asked for: an HTTP library
/// may read on before that.
pub(super) fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    let busy = Busy::new(&client);
    respond(client, busy, request)
}

async fn respond(
    client: Rc<Client>,
    busy: Busy,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    client.uploads.set(!body.is_end_stream());
    let is_http1 = parts.version < Version::HTTP_2;
    client.ends_by_closing.set(parts.version == Version::HTTP_10);
    let id = client.worker.ids.settle(&mut parts.headers);
    let mut response = answer(&client, parts, body).await.unwrap_or_else(|reply| {
        client.worker.metrics.reply(reply);
        reply.response(id)
    });
    if is_http1 && client.worker.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::close_after(response.headers_mut());
    }
    client.worker.metrics.request(client.protocol, response.status());
    response.body_mut().hold(busy);
    Ok(response)
}

async fn answer(client: &Rc<Client>, mut parts: Parts, body: Incoming) -> Result<Response<Body>, Reply> {
    let target = find_target(client, &mut parts)?;
    let is_websocket = parts.version == Version::HTTP_11 && headers::wants_websocket(&parts.headers);
    headers::prepare_request(&mut parts, &client.origin, &client.worker.config.trust);
    into_origin_form(&mut parts);
    if is_websocket {
        return tunnel::open(client, &target, parts).await;
    }
    parts.extensions.clear();
    let request = Request::from_parts(parts, RequestBody::new(body));
    let tries = Tries::new(client.worker.upstreams.of(&target)?);
    // What is under way does not keep the endpoints of a state that is gone.
    drop(target);
    Ok(pass_back(send(&client.worker, tries, request).await?))
}

/// Refuses what cannot be matched safely; matches the rest.
fn find_target(client: &Client, parts: &mut Parts) -> Result<Arc<Target>, Reply> {
    if parts.method == Method::CONNECT {
        return Err(Reply::ConnectRefused);
    }
    authority::settle(parts)?;
    if !path_policy::is_safe(parts.uri.path()) {
        return Err(Reply::BadPath);
    }
    if let Some(plain) = plain_path(parts.uri.path()) {
        set_path(&mut parts.uri, plain)?;
    }
    client.worker.find(client.listener, &Host::normalise(authority::of(parts)), parts.uri.path())
}

fn set_path(uri: &mut Uri, mut path: String) -> Result<(), Reply> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| Reply::BadPath)?);
    *uri = Uri::from_parts(parts).map_err(|_| Reply::BadPath)?;
    Ok(())
}

/// What backends expect: the path and query alone, and our version of HTTP.
fn into_origin_form(parts: &mut Parts) {
    parts.version = Version::HTTP_11;
    if parts.uri.authority().is_some() {
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
}

fn pass_back(Begun { response, connection, turn }: Begun) -> Response<Body> {
    let (mut parts, incoming) = response.into_parts();
    headers::prepare_response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let exchange = Exchange::new(incoming, connection, turn);
    Response::from_parts(parts, Body::exchange(Box::new(exchange)))
}

/// A response's head, with the connection that its body comes over.
struct Begun {
    response: Response<Incoming>,
    connection: Box<EndpointConnection>,
    turn: Turn,
}

/// Where a request waits to be sent: passed on by reference, for it is large. Empty once it has been sent.
type Place = Option<Request<RequestBody>>;

/// Each endpoint is tried at most once, and only as long as none has seen the request.
async fn send(worker: &Worker, mut tries: Tries, request: Request<RequestBody>) -> Result<Begun, Reply> {
    let mut place = Some(request);
    while let Some(turn) = tries.next() {
        match send_to(worker, &turn, &mut place).await {
            Ok((response, connection)) => {
                tries.answered(&turn, response.status(), &worker.config.ejection, &worker.metrics);
                return Ok(Begun { response, connection, turn });
            }
            Err(failure) => {
                blame(worker, &tries, &turn, &failure);
                answer_to(worker, &failure)?;
            }
        }
    }
    Err(Reply::ConnectFailed)
}

/// Tells the endpoint's record of what was its fault.
fn blame(worker: &Worker, tries: &Tries, turn: &Turn, failure: &Failure) {
    let fault = match failure {
        Failure::NotSent => Fault::Connect,
        Failure::Broken => Fault::Broken,
        Failure::TimedOut => Fault::TimeOut,
        Failure::BadBody | Failure::SlowBody => return,
    };
    tries.failed(turn, fault, &worker.config.ejection, &worker.metrics);
    turn.failed();
}

/// What the client is told, unless another endpoint may be tried.
fn answer_to(worker: &Worker, failure: &Failure) -> Result<(), Reply> {
    match failure {
        Failure::NotSent => Ok(()),
        Failure::Broken => Err(Reply::BadResponse),
        Failure::BadBody => Err(Reply::BadBody),
        Failure::SlowBody => {
            worker.metrics.limit_reached(Limit::UploadRate);
            Err(Reply::SlowBody)
        }
        Failure::TimedOut => Err(Reply::ResponseTimeout),
    }
}

type Answered = (Response<Incoming>, Box<EndpointConnection>);

/// Over idle connections as long as they prove to be closed, then over a new one.
async fn send_to(worker: &Worker, turn: &Turn, place: &mut Place) -> Result<Answered, Failure> {
    let upstream = turn.upstream();
    while let Some(connection) = upstream.pool.take() {
        let copy = place.as_ref().and_then(replayable);
        match exchange(worker, connection, turn, place).await {
            Err(Failure::NotSent) => {}
            // The endpoint closed it while the request was on its way.
            Err(Failure::Broken) if copy.is_some() => {
                worker.metrics.upstream_retry();
                *place = copy;
                break;
            }
            result => return result,
        }
    }
    match worker.connect(upstream.address).await {
        Some(connection) => {
            turn.connected();
            exchange(worker, connection, turn, place).await
        }
        None => Err(Failure::NotSent),
    }
}

async fn exchange(
    worker: &Worker,
    mut connection: Box<EndpointConnection>,
    turn: &Turn,
    place: &mut Place,
) -> Result<Answered, Failure> {
    connection.deadline.set(worker.config.timeouts.response);
    let upload = place.as_mut().and_then(|request| follow(worker, request.body_mut(), &connection.deadline));
    let response = connection.send(place).await.map_err(|failure| match failure {
        Failure::TimedOut if upload.as_ref().is_some_and(|upload| upload.awaits_client()) => {
            Failure::SlowBody
        }
        failure => failure,
    })?;
    // Nobody asked this endpoint to switch protocols.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Broken);
    }
    turn.answered(upload.map(|upload| upload.came_at()));
    Ok((response, connection))
}

fn follow(worker: &Worker, body: &mut RequestBody, deadline: &Rc<Deadline>) -> Option<Rc<Upload>> {
    if body.is_empty() {
        return None;
    }
    let timeouts = &worker.config.timeouts;
    let slowest = worker.config.limits.of(Limit::UploadRate);
    let upload = Upload::new(deadline, Pace { backend: timeouts.response, client: timeouts.upload, slowest });
    body.report_to(upload.clone());
    Some(upload)
}

/// A second copy of a request that may be sent twice: without a body, of a method that RFC 9110 calls idempotent.
fn replayable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.body().is_empty() || !request.method().is_idempotent() {
        return None;
    }
    let mut copy = Request::new(RequestBody::default());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
