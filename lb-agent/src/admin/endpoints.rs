//! The paths that operators ask, and what each answers.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::text::encode;

use super::dump::Dump;
use super::server::State;

/// Which endpoints a listener answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// Every one.
    All,
    /// Metrics and health: what may be seen from elsewhere.
    Metrics,
}

/// The response to a request; its body does not count.
pub(super) fn answer<B>(request: &Request<B>, scope: Scope, state: &State) -> Response<Full<Bytes>> {
    let Some(endpoint) = Endpoint::find(request.uri().path(), scope) else { return not_found(scope) };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match endpoint {
        Endpoint::Live => text(StatusCode::OK, "alive\n"),
        Endpoint::Ready => ready(state),
        Endpoint::Metrics => metrics(state),
        Endpoint::Snapshot => snapshot(state),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Live,
    Ready,
    Metrics,
    Snapshot,
}

impl Endpoint {
    const ALL: [Self; 4] = [Self::Live, Self::Ready, Self::Metrics, Self::Snapshot];

    fn find(path: &str, scope: Scope) -> Option<Self> {
        Self::of(scope).find(|endpoint| endpoint.path() == path)
    }

    fn of(scope: Scope) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |endpoint| scope == Scope::All || *endpoint != Self::Snapshot)
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Snapshot => "/debug/snapshot",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Live => "200 while the agent runs",
            Self::Ready => {
                "200 once a first complete state is live in kernel and proxy, else what is missing"
            }
            Self::Metrics => "metrics as OpenMetrics text",
            Self::Snapshot => "the state of this node as JSON, without secrets",
        }
    }
}

fn ready(state: &State) -> Response<Full<Bytes>> {
    let missing = state.live.missing();
    if missing.is_empty() {
        return text(StatusCode::OK, format!("{}\n", state.live.ready()));
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; ")))
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match encode(&mut body, &state.registry) {
        Ok(()) => respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body),
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be encoded: {error}\n"))
        }
    }
}

fn snapshot(state: &State) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(&Dump::new(&state.live)) {
        Ok(mut body) => {
            body.push(b'\n');
            respond(StatusCode::OK, "application/json", body)
        }
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("the state cannot be encoded: {error}\n"))
        }
    }
}

fn not_found(scope: Scope) -> Response<Full<Bytes>> {
    let known =
        Endpoint::of(scope).map(|endpoint| format!("{:<16} {}\n", endpoint.path(), endpoint.description()));
    text(StatusCode::NOT_FOUND, format!("not found; there are:\n{}", known.collect::<String>()))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use prometheus_client::registry::Registry;

    use super::super::dump::tests::{KEY, snapshot};
    use super::super::live::tests::live;
    use super::*;

    fn state(kernel: u64, proxy: u64) -> State {
        State { live: live(Some(kernel), proxy, Some(snapshot())), registry: Arc::new(Registry::default()) }
    }

    async fn ask(method: Method, path: &str, scope: Scope, state: &State) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(()).expect("a request");
        let response = answer(&request, scope, state);
        let status = response.status();
        let body = response.into_body().collect().await.expect("the body is complete").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("answers are text"))
    }

    async fn check(path: &str, scope: Scope, state: &State, status: u16, words: &str) {
        let (found, body) = ask(Method::GET, path, scope, state).await;
        assert_eq!(found.as_u16(), status, "{path}: {body}");
        assert!(body.contains(words), "{path}: {body}");
    }

    #[tokio::test]
    async fn paths_answer() {
        let ready = state(1, 1);
        for (path, scope, status, words) in [
            ("/livez", Scope::All, 200, "alive"),
            ("/livez?verbose", Scope::Metrics, 200, "alive"),
            ("/readyz", Scope::Metrics, 200, "ready: generation 1, packets on eth0 (generic)"),
            ("/metrics", Scope::All, 200, "# EOF"),
            ("/metrics", Scope::Metrics, 200, "# EOF"),
            ("/debug/snapshot", Scope::All, 200, "shop.example.org"),
            ("/debug/snapshot", Scope::Metrics, 404, "/metrics"),
            ("/", Scope::All, 404, "/debug/snapshot"),
            ("/livez/", Scope::All, 404, "/livez"),
        ] {
            check(path, scope, &ready, status, words).await;
        }
    }

    #[tokio::test]
    async fn a_node_that_is_not_ready_says_why() {
        check("/livez", Scope::All, &state(0, 0), 200, "alive").await;
        check("/readyz", Scope::All, &state(0, 1), 503, "the kernel's maps hold no snapshot").await;
        check("/readyz", Scope::All, &state(1, 0), 503, "the proxy serves no snapshot").await;
    }

    #[tokio::test]
    async fn nothing_can_be_written() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let (status, _) = ask(method, "/debug/snapshot", Scope::All, &state(1, 1)).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        }
        let (status, _) = ask(Method::HEAD, "/readyz", Scope::All, &state(1, 1)).await;
        assert_eq!(status, StatusCode::OK);
    }

    /// In no form that JSON, Debug or PEM would give it.
    #[tokio::test]
    async fn private_keys_never_show() {
        let (status, body) = ask(Method::GET, "/debug/snapshot", Scope::All, &state(1, 1)).await;
        assert_eq!(status, StatusCode::OK);
        let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = KEY.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        let squeezed: String = body.split_whitespace().collect();
        for form in ["PRIVATEKEY", "super-secret", hex.as_str(), list.as_str(), "c3VwZXItc2VjcmV0"] {
            assert!(!squeezed.contains(form), "{form} in\n{body}");
        }
        assert!(squeezed.contains("Secretshop/tls"), "the certificate itself is shown");
    }
}
