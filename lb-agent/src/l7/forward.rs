//! A request's way: settled, matched, sent (`attempts`), its response passed back.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::ACCEPT;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;

use super::account::Account;
use super::attempts::Attempts;
use super::body::{Body, RequestBody};
use super::client::{Busy, Client};
use super::guard::Malformed;
use super::incoming::Incoming;
use super::policy::Hints;
use super::reply::{Form, Reply};
use super::route::Route;
use super::tries::Tries;
use super::{grpc, headers, refuse, settle, tunnel};
use crate::model::ListenerProtocol;

/// Answers one request of a client, which is busy from now on, not only when the answer is asked for: an HTTP library
/// may read on before that. All that needs no waiting is done at once, so that what waits is small and stays where it is: each
/// request has one.
pub(super) fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Pin<Box<impl Future<Output = Response<Body>> + use<>>> {
    let busy = Busy::new(&client);
    let (mut parts, body) = request.into_parts();
    client.uploads.set(!body.is_end_stream());
    let is_http1 = parts.version < Version::HTTP_2;
    client.ends_by_closing.set(parts.version == Version::HTTP_10);
    // With an upload under way, the connection may have to wait for its client before it is closed.
    let may_be_last = is_http1 && !client.uploads.get();
    if may_be_last && headers::asks_to_close(&parts) {
        client.passage.ends_after_this();
    }
    // What it says is read where we answer ourselves.
    let (is_call, accept) = (grpc::is_call(&parts), parts.headers.get(ACCEPT).cloned());
    let id = client.worker.ids.settle(&mut parts.headers);
    let mut account = Account::new(busy, &parts, &id, is_call);
    let mut way = match client.worker.overload.refuses() {
        None => way(&client, parts, body, is_call, &mut account),
        Some(limit) => {
            client.worker.metrics.limit_reached(limit);
            Way::Refused { reply: Reply::Overloaded, _body: body }
        }
    };
    Box::pin(async move {
        let answered = match &mut way {
            Way::Endpoints(attempts) => attempts.run().await.map(pass_back),
            Way::Tunnel(opening) => opening.await,
            Way::Refused { reply, .. } => Err(*reply),
        };
        let own = answered.as_ref().err().copied();
        let mut response = answered.unwrap_or_else(|reply| {
            client.worker.metrics.reply(reply);
            if is_call {
                grpc::response(reply, id)
            } else {
                reply.response(Form::wanted(accept.as_ref()), id)
            }
        });
        let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_http1 && client.worker.is_draining() && !is_tunnel {
            headers::close_after(response.headers_mut());
            if may_be_last {
                client.passage.ends_after_this();
            }
        }
        if let Some(node) = &client.worker.config.served_by {
            headers::name_server(response.headers_mut(), node);
        }
        account.answered(response.status(), response.headers(), own);
        response.body_mut().hold(account);
        response
    })
}

/// How a request is answered.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly each is the largest, which is not to be allocated twice"
)]
enum Way {
    Endpoints(Attempts),
    Tunnel(Pin<Box<dyn Future<Output = Result<Response<Body>, Reply>>>>),
    /// By us, with the request's body: an HTTP library takes a body that goes before there is a response for one whose rest
    /// nobody may wait for, and closes the connection.
    Refused {
        reply: Reply,
        _body: Incoming,
    },
}

fn way(client: &Rc<Client>, mut parts: Parts, body: Incoming, is_call: bool, account: &mut Account) -> Way {
    match whither(client, &mut parts, &body, account) {
        Ok(Whither::Tunnel(route)) => {
            let opening = tunnel::open(client.clone(), route, parts, body, account.notes());
            Way::Tunnel(Box::pin(opening))
        }
        Ok(Whither::Endpoints(tries)) => {
            parts.extensions.clear();
            let body = RequestBody::new(body, account.notes()).by(|| client.upload_way());
            let request = Request::from_parts(parts, body);
            Way::Endpoints(Attempts::new(client.clone(), tries, request, is_call))
        }
        Err(reply) => Way::Refused { reply, _body: body },
    }
}

/// Where a request leads.
enum Whither {
    Endpoints(Tries),
    Tunnel(Arc<Route>),
}

/// Settles its head, and makes it one of ours.
fn whither(
    client: &Client,
    parts: &mut Parts,
    body: &Incoming,
    account: &mut Account,
) -> Result<Whither, Reply> {
    let route = find_route(client, parts)?;
    account.routed(&route);
    let is_connect = headers::asks_for_websocket(parts);
    // With a body, or by another method, it is no handshake: it is sent as if no upgrade was wanted, and whole.
    let is_handshake =
        parts.version == Version::HTTP_11 && parts.method == Method::GET && body.is_end_stream();
    let wants_websocket = is_connect || is_handshake && headers::wants_websocket(&parts.headers);
    // To HTTP/2 there is no upgrade: it is asked as if none was wanted, if that can be.
    let is_websocket = wants_websocket && !route.target.protocol.is_http2;
    if is_connect && !is_websocket {
        return Err(Reply::ConnectRefused);
    }
    headers::prepare_request(parts, &client.origin, &client.worker.config.trust);
    account.tell_trace(&mut parts.headers);
    into_origin_form(parts);
    if is_websocket {
        return Ok(Whither::Tunnel(route));
    }
    if route.target.treatment.policy.reads_requests() {
        client.origin.tell(&mut parts.headers);
    }
    let hints = Hints::of(&route, parts, client.protocol == ListenerProtocol::Https);
    // What is under way does not keep the endpoints of a state that is gone.
    let tries = Tries::new(client.worker.upstreams.of(&route.target)?, hints);
    Ok(Whither::Endpoints(tries.noted(account.notes())))
}

fn find_route(client: &Client, parts: &mut Parts) -> Result<Arc<Route>, Reply> {
    settle::settle(parts).inspect_err(|reply| {
        // Of HTTP/2 alone, and for that alone: HTTP/1 is looked at before it is read.
        if *reply == Reply::Malformed {
            refuse::count(client, Malformed::RepeatedLength.into());
        }
    })?;
    client.worker.route(client, &parts.headers, parts.uri.path())
}

/// What backends expect: the path and query alone, and our version of HTTP.
pub(super) fn into_origin_form(parts: &mut Parts) {
    parts.version = Version::HTTP_11;
    if parts.uri.authority().is_some() {
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
}

fn pass_back(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    headers::prepare_response(&mut parts);
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, body)
}
