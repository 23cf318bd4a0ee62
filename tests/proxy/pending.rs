//! Endpoints with as many requests as they may have: the next ones wait, in a number and for a time that are limited.

use std::sync::Arc;

use http::{HeaderValue, Method};
use lb_agent::l7::{Config, Setting};
use lb_agent::model::Unavailable;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::support::{Answer, Backend, Fixture, Http, Shop, Table, eventually, request};

const WAITING: &str = "lb_l7_upstream_pending";

/// A proxy to one endpoint, with these limits; a first request is under way there until it is released.
async fn busy(settings: &'static [&'static str]) -> (Backend, Arc<Notify>, Fixture, JoinHandle<Answer>) {
    let (backend, release) = Backend::slow().await;
    let fixture = Fixture::start_as(limited(settings), Table::all_to(&[backend.address]));
    let first = ask(&fixture, "/slow");
    eventually("it is under way", || backend.requests() == 1).await;
    (backend, release, fixture, first)
}

/// A proxy with these limits.
fn limited(settings: &'static [&'static str]) -> impl Fn(&mut Config) {
    |config| {
        let settings = settings.iter().map(|text| text.parse::<Setting>().expect("a setting"));
        config.limits = settings.collect();
    }
}

fn reached(fixture: &Fixture, limit: &str) -> u64 {
    fixture.metric(&format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}"))
}

fn ask(fixture: &Fixture, path: &'static str) -> JoinHandle<Answer> {
    tokio::spawn(Http::get(fixture.http(), "a", path))
}

/// That this one was refused for lack of an endpoint.
fn assert_busy(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert!(answer.text().contains("busy"), "{}", answer.text());
}

#[tokio::test]
async fn the_next_ones_wait_and_those_beyond_are_refused() {
    let limits = &["endpoint-requests=1", "pending-requests=1", "pending-time=60000"];
    let (backend, release, fixture, first) = busy(limits).await;
    let second = ask(&fixture, "/");
    eventually("the next one waits", || fixture.metric(WAITING) == 1).await;
    assert_busy(&ask(&fixture, "/").await.expect("no panic"));
    assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"endpoints_busy\"}"), 1);
    assert_eq!((reached(&fixture, "pending-requests"), reached(&fixture, "endpoint-requests")), (1, 2));
    assert_eq!(backend.requests(), 1, "the endpoint has seen the first alone");
    release.notify_one();
    for asked in [first, second] {
        assert_eq!(asked.await.expect("no panic").text(), "done");
    }
    assert_eq!(fixture.metric(WAITING), 0);
    assert_eq!(ask(&fixture, "/").await.expect("no panic").text(), "done", "places come back");
    assert_eq!(reached(&fixture, "pending-time"), 0);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit() {
    let (_backend, release, fixture, first) = busy(&["endpoint-requests=1", "pending-time=50"]).await;
    assert_busy(&ask(&fixture, "/").await.expect("no panic"));
    assert_eq!((reached(&fixture, "pending-time"), reached(&fixture, "pending-requests")), (1, 0));
    release.notify_one();
    assert_eq!(first.await.expect("no panic").text(), "done");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_request_itself_may_take() {
    let (_backend, release, fixture, first) = busy(&["endpoint-requests=1", "pending-time=60000"]).await;
    let mut call = request("a", "/service/Method");
    let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "300m")];
    for (name, value) in headers {
        call.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    *call.method_mut() = Method::POST;
    let answer = Http::two(fixture.http()).await.send(call).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "4"), "DEADLINE_EXCEEDED");
    assert_eq!((reached(&fixture, "pending-time"), reached(&fixture, "endpoint-requests")), (0, 1));
    release.notify_one();
    assert_eq!(first.await.expect("no panic").text(), "done");
}

/// A turn is not lost with a request that has no use for it.
#[tokio::test]
async fn whose_route_is_gone_leaves_its_turn_to_the_next() {
    let (backend, release) = Backend::slow().await;
    let limits = limited(&["endpoint-requests=1", "pending-time=60000"]);
    let both = Table::default().rule("a", "/", &[backend.address]).rule("b", "/", &[backend.address]);
    let fixture = Fixture::start_as(limits, both.build());
    let asks = |host: &'static str, path: &'static str| tokio::spawn(Http::get(fixture.http(), host, path));
    let first = asks("b", "/slow");
    eventually("it is under way", || backend.requests() == 1).await;
    let gone = asks("a", "/");
    eventually("one waits", || fixture.metric(WAITING) == 1).await;
    let stays = asks("b", "/");
    eventually("two wait", || fixture.metric(WAITING) == 2).await;
    fixture.publish(Table::default().rule("b", "/", &[backend.address]).build());
    release.notify_one();
    assert_eq!(first.await.expect("no panic").text(), "done");
    assert_eq!(gone.await.expect("no panic").status, 404);
    assert_eq!(stays.await.expect("no panic").text(), "done");
}

#[tokio::test]
async fn who_leaves_does_not_take_the_turn_of_the_next() {
    let (_backend, release, fixture, first) = busy(&["endpoint-requests=1", "pending-time=60000"]).await;
    let leaves = ask(&fixture, "/");
    eventually("one waits", || fixture.metric(WAITING) == 1).await;
    let stays = ask(&fixture, "/");
    eventually("two wait", || fixture.metric(WAITING) == 2).await;
    leaves.abort();
    assert!(leaves.await.is_err());
    release.notify_one();
    for asked in [first, stays] {
        assert_eq!(asked.await.expect("no panic").text(), "done");
    }
    eventually("nobody waits", || fixture.metric(WAITING) == 0).await;
}

#[tokio::test]
async fn a_service_may_have_limits_of_its_own() {
    let (backend, release) = Backend::slow().await;
    let limits = "endpoint-requests=1, pending-requests=1, pending-time=1s";
    let site = Shop::of(json!({"edgelb.dev/limits": limits})).open(&[&backend]).await;
    assert_eq!(site.problems, Vec::<String>::new());
    let address = site.http();
    let first = tokio::spawn(Http::get(address, "a", "/slow"));
    eventually("it is under way", || backend.requests() == 1).await;
    let second = tokio::spawn(Http::get(address, "a", "/"));
    eventually("it waits", || site.metric("lb_l7_upstream_pending") == 1).await;
    assert_eq!(Http::get(address, "a", "/").await.status, 503, "there is room for one");
    assert_eq!(second.await.expect("no panic").status, 503, "its time is over");
    release.notify_one();
    assert_eq!(first.await.expect("no panic").status, 200);
    assert_eq!((Http::get(address, "a", "/").await.status.as_u16(), backend.requests()), (200, 2));
}

#[tokio::test]
async fn who_waits_is_sent_to_the_endpoints_that_there_are_by_then() {
    let new = Backend::says("new").await;
    let (old, release, fixture, first) = busy(&["endpoint-requests=1", "pending-time=60000"]).await;
    let waiting = [ask(&fixture, "/"), ask(&fixture, "/"), ask(&fixture, "/")];
    eventually("the next ones wait", || fixture.metric(WAITING) == 3).await;
    // As in a rolling update: one is gone, with a request under way, and another one is there.
    fixture.publish(Table::all_to(&[new.address]));
    for asked in waiting {
        assert_eq!(asked.await.expect("no panic").text(), "new", "nobody need wait for the old one");
    }
    assert_eq!((old.requests(), new.requests(), fixture.metric(WAITING)), (1, 3, 0));
    let last = ask(&fixture, "/");
    assert_eq!(last.await.expect("no panic").text(), "new");
    release.notify_one();
    assert_eq!(first.await.expect("no panic").text(), "done");
}

#[tokio::test]
async fn who_waits_where_no_endpoint_is_left_is_told_so() {
    let (old, release, fixture, first) = busy(&["endpoint-requests=1", "pending-time=60000"]).await;
    let second = ask(&fixture, "/");
    eventually("the next one waits", || fixture.metric(WAITING) == 1).await;
    fixture.publish(Table::all_unavailable(Unavailable::NoEndpoint));
    assert_eq!(second.await.expect("no panic").status, 503);
    assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"unavailable\"}"), 1);
    release.notify_one();
    assert_eq!((first.await.expect("no panic").text(), old.requests()), ("done", 1));
}
