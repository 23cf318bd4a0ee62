//! The paths that operators ask, and what each answers.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::{once, unfold};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use prometheus_client::encoding::text::encode;
use serde::Serialize;

use super::drain::{DrainReport, FOLLOWED, asked, said};
use super::dump::Dump;
use super::explain;
use super::holders;
use super::overview::Overview;
use super::server::State;
use crate::model::{Draining, Turn};

/// Which endpoints a listener answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// Every one, and what changes the agent or lasts as long as it: on the agent's own socket, which is root's.
    Own,
    /// Every one that is a question.
    All,
    /// Metrics and health: what may be seen from elsewhere.
    Metrics,
}

/// How the words of a node begin that is not ready.
pub(super) const NOT_READY: &str = "not ready: ";

/// The query by which a node is ready that drains, if nothing is missing.
pub(super) const EXCLUDE_DRAIN: &str = "exclude=drain";

/// Where the metrics are.
pub(super) const METRICS: &str = "/metrics";

/// Where the overview is.
pub(super) const OVERVIEW: &str = "/debug/overview";

/// Where members are asked for a connection.
pub(super) const HOLDERS: &str = "/debug/holders";

/// Where requests are explained.
pub(super) const REQUEST: &str = "/debug/request";

/// Where captures are.
pub(super) const CAPTURE: &str = "/capture";

/// What a response has: a text, or what comes with time.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The response to a request; its body does not count.
pub(super) async fn answer<B>(request: Request<B>, scope: Scope, state: &State) -> Response<Body> {
    let Some(endpoint) = Endpoint::find(request.uri().path(), scope) else { return not_found(scope) };
    match (endpoint, request.method()) {
        // To ask for its headers alone would begin one.
        (Endpoint::Capture, &Method::GET) => {}
        (Endpoint::Capture, &Method::DELETE) => return state.captures.end(),
        (Endpoint::Capture, _) => return not_allowed("GET, DELETE"),
        (_, &Method::GET | &Method::HEAD) => {}
        (Endpoint::Drain, &Method::POST) if scope == Scope::Own => {
            return drain(state, request.uri().query());
        }
        (Endpoint::Drain, &Method::DELETE) if scope == Scope::Own => return call_off(state),
        _ => return not_allowed("GET, HEAD"),
    }
    match endpoint {
        Endpoint::Live => text(StatusCode::OK, "alive\n"),
        Endpoint::Ready => ready(state, request.uri().query()),
        Endpoint::Metrics => metrics(state),
        Endpoint::Drain => json(&DrainReport::new(&state.live)),
        Endpoint::Attracted => attracted(state),
        Endpoint::Holders => ask_members(state, request.uri().query()),
        Endpoint::Request => explain_request(state, request.uri().query()).await,
        Endpoint::Capture => {
            let who = request.extensions().get().copied().unwrap_or_default();
            state.captures.begin(&state.live, request.uri().query(), who).await
        }
        Endpoint::Snapshot => json(&Dump::new(&state.live)),
        Endpoint::Overview => json(&Overview::new(&state.live)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Live,
    Ready,
    Metrics,
    Drain,
    Attracted,
    Holders,
    Capture,
    Snapshot,
    Overview,
    Request,
}

impl Endpoint {
    const ALL: [Self; 10] = [
        Self::Live,
        Self::Ready,
        Self::Metrics,
        Self::Drain,
        Self::Attracted,
        Self::Holders,
        Self::Capture,
        Self::Snapshot,
        Self::Overview,
        Self::Request,
    ];

    fn find(path: &str, scope: Scope) -> Option<Self> {
        Self::of(scope).find(|endpoint| endpoint.path() == path)
    }

    fn of(scope: Scope) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |endpoint| match endpoint {
            Self::Live | Self::Ready | Self::Metrics => true,
            Self::Drain | Self::Snapshot | Self::Overview | Self::Request => scope != Scope::Metrics,
            Self::Attracted | Self::Holders | Self::Capture => scope == Scope::Own,
        })
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Metrics => METRICS,
            Self::Drain => "/drain",
            Self::Attracted => "/attracted",
            Self::Holders => HOLDERS,
            Self::Capture => CAPTURE,
            Self::Snapshot => "/debug/snapshot",
            Self::Overview => OVERVIEW,
            Self::Request => REQUEST,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Live => "200 while the agent runs",
            Self::Ready => {
                "200 once a first complete state is live in kernel and proxy, else what is missing, and while the node drains (?exclude=drain: then, too)"
            }
            Self::Metrics => "metrics as OpenMetrics text",
            Self::Drain => {
                "how a drain goes; POST begins one, DELETE calls it off, on the agent's own socket"
            }
            Self::Attracted => "VIPs that this node may attract, a line of JSON now and at each change",
            Self::Holders => {
                "?from=IP:PORT&to=VIP:PORT: which other member has this connection, asked of all"
            }
            Self::Capture => "what the packet path does to packets, as it does it; DELETE ends it",
            Self::Snapshot => "the state of this node as JSON, without secrets",
            Self::Request => "?host=HOST&path=PATH: what becomes of a request, and why",
            Self::Overview => "members, flows and names, for `lb-agent explain` and `lb-agent top`",
        }
    }
}

/// With `exclude=drain` a node that drains is ready, as it works. (The API server's own `/readyz` has `exclude`, too.)
fn ready(state: &State, query: Option<&str>) -> Response<Body> {
    let missing = match query {
        Some(EXCLUDE_DRAIN) => state.live.missing(),
        _ => state.live.not_ready(),
    };
    if missing.is_empty() {
        return text(StatusCode::OK, format!("{}\n", state.live.ready()));
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{NOT_READY}{}\n", missing.join("; ")))
}

fn metrics(state: &State) -> Response<Body> {
    let mut body = String::new();
    match encode(&mut body, &state.registry) {
        Ok(()) => respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body),
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be encoded: {error}\n"))
        }
    }
}

/// Begins a drain; one under way gets another deadline.
fn drain(state: &State, query: Option<&str>) -> Response<Body> {
    match asked(query) {
        Err(wrong) => text(StatusCode::BAD_REQUEST, format!("{wrong}\n")),
        Ok(draining) => tell(state, Some(draining)),
    }
}

fn call_off(state: &State) -> Response<Body> {
    tell(state, None)
}

/// An agent that is told to stop drains already, and cannot be held up. One that was followed opens no flows any more.
fn tell(state: &State, wish: Option<Draining>) -> Response<Body> {
    if *state.live.turn.borrow() == Turn::After {
        return text(StatusCode::CONFLICT, format!("{FOLLOWED}\n"));
    }
    let node = state.live.node_drain();
    let mut is_heard = true;
    state.tell.send_if_modified(|told| {
        let said = said(*told, wish, node);
        is_heard = said.is_some();
        let is_other = said.is_some_and(|said| said != *told);
        *told = said.unwrap_or(*told);
        is_other
    });
    match is_heard {
        true => json(&DrainReport::new(&state.live)),
        false => text(StatusCode::CONFLICT, "the agent stops: it drains already\n"),
    }
}

fn attracted(state: &State) -> Response<Body> {
    let lines = unfold((state.live.attracted.clone(), true), |(mut attracted, is_first)| async move {
        if !is_first {
            attracted.changed().await.ok()?;
        }
        let vips = attracted.borrow_and_update().clone();
        let line = serde_json::to_string(&vips).unwrap_or_default() + "\n";
        Some((Ok(Frame::data(line.into())), (attracted, false)))
    });
    let mut response = respond(StatusCode::OK, "application/jsonl", "");
    *response.body_mut() = StreamBody::new(lines).boxed_unsync();
    response
}

fn ask_members(state: &State, query: Option<&str>) -> Response<Body> {
    let Some(members) = &state.members else {
        return text(StatusCode::NOT_FOUND, "without a packet path there is nobody to ask\n");
    };
    let Some(ends) = holders::asked(query) else {
        return text(StatusCode::BAD_REQUEST, "ask ?from=IP:PORT&to=VIP:PORT\n");
    };
    let answers = members.ask(ends);
    let all = once(async {
        let all = serde_json::to_string(&holders::all(answers).await).unwrap_or_default();
        Ok(Frame::data(all.into()))
    });
    let mut response = respond(StatusCode::OK, "application/json", "");
    *response.body_mut() = StreamBody::new(all).boxed_unsync();
    response
}

async fn explain_request(state: &State, query: Option<&str>) -> Response<Body> {
    let Some(requests) = &state.requests else {
        return text(StatusCode::NOT_FOUND, "without a proxy there is nothing to explain\n");
    };
    let explained = match explain::asked(query) {
        Ok(asked) => requests.explain(asked).await,
        Err(wrong) => Err(wrong),
    };
    match explained {
        Ok(explained) => json(&explained),
        Err(wrong) => text(StatusCode::BAD_REQUEST, format!("{wrong}\n")),
    }
}

fn json(what: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec_pretty(what) {
        Ok(mut body) => {
            body.push(b'\n');
            respond(StatusCode::OK, "application/json", body)
        }
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("the state cannot be encoded: {error}\n"))
        }
    }
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn not_found(scope: Scope) -> Response<Body> {
    let known =
        Endpoint::of(scope).map(|endpoint| format!("{:<16} {}\n", endpoint.path(), endpoint.description()));
    text(StatusCode::NOT_FOUND, format!("not found; there are:\n{}", known.collect::<String>()))
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body)
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
