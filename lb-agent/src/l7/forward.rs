//! A request's way: settled, matched, sent (`attempts`), its response passed back.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};

use super::attempts::{Attempts, Begun};
use super::body::{Body, RequestBody};
use super::candidates::Tries;
use super::client::{Busy, Client};
use super::exchange::Exchange;
use super::reply::Reply;
use super::target::Target;
use super::{authority, headers, path_policy, policy, tunnel};
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
    let answered = match client.worker.overload.refuses() {
        None => answer(&client, parts, body).await,
        Some(limit) => {
            client.worker.metrics.limit_reached(limit);
            Err(Reply::Overloaded)
        }
    };
    let mut response = answered.unwrap_or_else(|reply| {
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
    let key = policy::key(&target.policy, &parts);
    parts.extensions.clear();
    let request = Request::from_parts(parts, RequestBody::new(body));
    let tries = Tries::new(client.worker.upstreams.of(&target)?, key);
    // What is under way does not keep the endpoints of a state that is gone.
    drop(target);
    Ok(pass_back(Attempts::new(&client.worker, tries, request).run().await?))
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
