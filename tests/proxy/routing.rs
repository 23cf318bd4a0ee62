//! Which backend answers: hosts, paths, defaults, classes, endpoints in turn.

use std::collections::BTreeMap;

use super::support::{Backend, Fixture, Http, Table, request};

#[tokio::test]
async fn host_and_path_choose_the_backend() {
    let (root, app, exact) =
        (Backend::says("root").await, Backend::says("app").await, Backend::says("exact").await);
    let (wild, fallback) = (Backend::says("wild").await, Backend::says("default").await);
    let table = Table::default()
        .rule("shop.example.org", "/", &[root.address])
        .rule("shop.example.org", "/app/", &[app.address])
        .exact("shop.example.org", "/app", &[exact.address])
        .rule("*.example.org", "/only", &[wild.address])
        .default_backend("", &[fallback.address]);
    let fixture = Fixture::start(table.build());
    for (host, path, expected) in [
        ("shop.example.org", "/", "root"),
        ("SHOP.example.org:8080", "/x?y=/app", "root"),
        ("shop.example.org.", "/app/x", "app"),
        ("shop.example.org", "/app", "exact"),
        ("shop.example.org", "/apple", "root"),
        ("shop.example.org", "/%61p%70/x?y=%61", "app"),
        ("shop.example.org", "/%2561pp/x", "root"),
        ("other.example.org", "/only/this", "wild"),
        ("other.example.org", "/else", "default"),
        ("unknown.example.net", "/", "default"),
    ] {
        assert_eq!(Http::get(fixture.http(), host, path).await.text(), expected, "{host} {path}");
    }
    assert_eq!(fixture.metric("lb_l7_requests_total{protocol=\"http\",class=\"2xx\"}"), 10);
}

#[tokio::test]
async fn a_class_never_answers_on_the_listener_of_another() {
    let (public, internal) = (Backend::says("public").await, Backend::says("internal").await);
    let fixture = Fixture::start(Table::default().build());
    fixture.publish_both(
        Table::default().rule("a.example.org", "/", &[public.address]).build(),
        Table::default().rule("b.example.org", "/", &[internal.address]).build(),
    );
    for (address, host, status) in [
        (fixture.http(), "a.example.org", 200),
        (fixture.http(), "b.example.org", 404),
        (fixture.internal(), "a.example.org", 404),
        (fixture.internal(), "b.example.org", 200),
    ] {
        assert_eq!(Http::get(address, host, "/").await.status, status, "{address} {host}");
    }
    assert_eq!((public.requests(), internal.requests()), (1, 1));
}

#[tokio::test]
async fn endpoints_share_requests() {
    let (one, two, three) = (Backend::says("1").await, Backend::says("2").await, Backend::says("3").await);
    let fixture = Fixture::start(Table::all_to(&[one.address, two.address, three.address]));
    let mut client = Http::one(fixture.http()).await;
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..60 {
        let answer = client.send(request("a", "/")).await;
        *counts.entry(answer.text().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let alive = Backend::says("alive").await;
    let dead = Backend::says("dead").await.address;
    let fixture = Fixture::start(Table::all_to(&[dead, alive.address]));
    for _ in 0..4 {
        assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "alive");
    }
    assert!(fixture.metric("lb_l7_upstream_connects_total{result=\"failed\"}") >= 1);
}
