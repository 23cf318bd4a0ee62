//! Endpoints that fail again and again are set aside for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use lb_agent::l7::Config;
use lb_agent::model::Ejection;

use serde_json::json;

use super::support::{Backend, Fixture, Http, Shop, Table, eventually, request, text};

/// Times short enough to wait for.
fn quickly(config: &mut Config) {
    config.ejection = Ejection { step: Duration::from_secs(1), ..Ejection::default() };
}

/// An endpoint that answers 503 as long as it is told to.
async fn moody() -> (Backend, Arc<AtomicBool>) {
    answering(StatusCode::SERVICE_UNAVAILABLE).await
}

/// The same with another status.
async fn answering(status: StatusCode) -> (Backend, Arc<AtomicBool>) {
    let is_bad = Arc::new(AtomicBool::new(true));
    let mood = is_bad.clone();
    let backend = Backend::start(move |_| {
        let mut response = Response::new(text("moody"));
        if mood.load(Ordering::SeqCst) {
            *response.status_mut() = status;
        }
        async move { response }
    })
    .await;
    (backend, is_bad)
}

#[tokio::test]
async fn who_fails_in_a_row_is_set_aside_and_comes_back() {
    // Failures are quick: nothing but their number speaks against that endpoint.
    let good = Backend::start(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Response::new(text("good"))
    })
    .await;
    let (bad, is_bad) = moody().await;
    let fixture = Fixture::start_as(quickly, Table::all_to(&[good.address, bad.address]));
    let mut client = Http::one(fixture.http()).await;
    while fixture.metric("lb_l7_upstream_ejections_total{reason=\"status\"}") == 0 {
        client.send(request("a", "/")).await;
        assert!(bad.requests() <= 5, "it is out after 5");
    }
    assert_eq!(fixture.metric("lb_l7_upstream_ejected"), 1);
    client.send(request("a", "/")).await;
    assert_eq!(bad.requests(), 5, "nobody asks it now");
    is_bad.store(false, Ordering::SeqCst);
    eventually("its time is over", || fixture.metric("lb_l7_upstream_ejected") == 0).await;
    let before = bad.requests();
    while bad.requests() == before {
        assert_eq!(client.send(request("a", "/")).await.status, 200);
    }
}

const BY_STATUS: &str = "lb_l7_upstream_ejections_total{reason=\"status\"}";

#[tokio::test]
async fn a_service_says_after_how_many_failures_if_at_all() {
    for (rule, expected) in [("failures=2", Some(2)), ("failures=8", Some(8)), ("off", None)] {
        let (good, (bad, _)) = (Backend::says("good").await, moody().await);
        let shop = Shop::of(json!({"edgelb.dev/ejection": rule, "edgelb.dev/load-balance": "round_robin"}));
        let site = shop.open(&[&good, &bad]).await;
        assert_eq!(site.problems, Vec::<String>::new());
        let mut client = Http::one(site.http()).await;
        for _ in 0..30 {
            client.send(request("a", "/")).await;
        }
        let (asked, ejected) = (expected.unwrap_or(15), u64::from(expected.is_some()));
        assert_eq!((bad.requests(), site.metric(BY_STATUS)), (asked, ejected), "{rule}");
    }
}

#[tokio::test]
async fn a_method_that_nobody_knows_costs_no_endpoint() {
    let (one, two) =
        (answering(StatusCode::NOT_IMPLEMENTED).await, answering(StatusCode::NOT_IMPLEMENTED).await);
    let fixture = Fixture::start(Table::all_to(&[one.0.address, two.0.address]));
    let mut client = Http::one(fixture.http()).await;
    for _ in 0..20 {
        assert_eq!(client.send(request("a", "/")).await.status, StatusCode::NOT_IMPLEMENTED);
    }
    assert_eq!(fixture.metric(BY_STATUS), 0);
}

#[tokio::test]
async fn the_only_endpoint_is_never_set_aside() {
    let (bad, _) = moody().await;
    let fixture = Fixture::start(Table::all_to(&[bad.address]));
    let mut client = Http::one(fixture.http()).await;
    for _ in 0..20 {
        assert_eq!(client.send(request("a", "/")).await.status, 503);
    }
    assert_eq!(bad.requests(), 20);
    assert_eq!(fixture.metric("lb_l7_upstream_ejected"), 0);
}
