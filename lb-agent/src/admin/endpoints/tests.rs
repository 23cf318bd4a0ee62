//! What each path answers, by scope.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::super::capture::Captures;
use super::super::dump::tests::{KEY, snapshot};
use super::super::live::Live;
use super::super::live::tests::live;
use super::*;

fn state(kernel: u64, proxy: u64) -> State {
    let tell = watch::Sender::default();
    let live = Live { draining: tell.subscribe(), ..live(Some(kernel), proxy, Some(snapshot())) };
    let captures = Captures::default();
    State { live, registry: Arc::new(Registry::default()), tell, members: None, requests: None, captures }
}

async fn ask(method: Method, path: &str, scope: Scope, state: &State) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(()).expect("a request");
    let response = answer(request, scope, state).await;
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
        ("/debug/overview", Scope::All, 200, "\"192.0.2.10:80/tcp\": \"Service edge/vip\""),
        ("/debug/overview", Scope::Metrics, 404, "/metrics"),
        ("/capture", Scope::All, 404, "/metrics"),
        ("/capture", Scope::Metrics, 404, "/metrics"),
        ("/capture?count=x", Scope::Own, 400, "count: \"x\" is no number"),
        ("/capture", Scope::Own, 404, "no packet path"),
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

#[tokio::test]
async fn a_drain_is_told_on_the_agents_own_socket_alone() {
    let state = state(1, 1);
    for scope in [Scope::All, Scope::Metrics] {
        for method in [Method::POST, Method::DELETE] {
            let (status, _) = ask(method, "/drain", scope, &state).await;
            assert!([405, 404].contains(&status.as_u16()), "{status}");
        }
    }
    assert!(state.tell.borrow().is_none());
    let (status, body) = ask(Method::POST, "/drain?deadline=60", Scope::Own, &state).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains("\"draining\": true"), "{body}");
    check("/readyz", Scope::All, &state, 503, "not ready: draining").await;
    check("/readyz?exclude=drain", Scope::Metrics, &state, 200, "; draining").await;
    check("/drain", Scope::All, &state, 200, "\"complete\": false").await;
    assert_eq!(ask(Method::POST, "/drain?deadline=x", Scope::Own, &state).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(Method::DELETE, "/drain", Scope::Own, &state).await.0, StatusCode::OK);
    check("/drain", Scope::All, &state, 200, "not draining").await;
    state.tell.send_replace(Some(Draining::stop_within(std::time::Duration::from_secs(9))));
    assert_eq!(ask(Method::DELETE, "/drain", Scope::Own, &state).await.0, StatusCode::CONFLICT);
    assert!(state.tell.borrow().is_some(), "an agent that stops cannot be held up");
    let turn = watch::Sender::new(Turn::After).subscribe();
    let followed = State { live: Live { turn, ..state.live }, ..state };
    for method in [Method::POST, Method::DELETE] {
        let (status, body) = ask(method, "/drain", Scope::Own, &followed).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(body.contains("another agent has the packet path"), "{body}");
    }
    check("/drain", Scope::All, &followed, 200, "\"followed\": true").await;
    check("/readyz?exclude=drain", Scope::Metrics, &followed, 200, "; another agent has the packet path")
        .await;
}

#[tokio::test]
async fn what_may_be_attracted_comes_line_by_line() {
    let attracted = watch::Sender::default();
    let state = state(1, 1);
    let live = Live { attracted: attracted.subscribe(), ..state.live.clone() };
    let state = State { live, ..state };
    assert_eq!(ask(Method::GET, "/attracted", Scope::All, &state).await.0, StatusCode::NOT_FOUND);
    let request = Request::get("/attracted").body(()).expect("a request");
    let mut lines = answer(request, Scope::Own, &state).await.into_body();
    for (vips, line) in [(vec![], "[]\n"), (vec!["192.0.2.1"], "[\"192.0.2.1\"]\n"), (vec![], "[]\n")] {
        attracted.send_replace(vips.iter().map(|vip| vip.parse().expect("an address")).collect());
        let frame = lines.frame().await.expect("a line").expect("never an error");
        assert_eq!(frame.into_data().expect("a line"), line);
    }
    drop((attracted, state));
    assert!(lines.frame().await.is_none(), "it ends with the agent");
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
