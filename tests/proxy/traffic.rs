//! Metrics of each route and of each Service: requests, errors, durations, and what endpoints do.

use std::time::{Duration, Instant};

use lb_agent::model::RouteTable;
use tokio::io::AsyncReadExt;

use super::support::{
    Backend, Fixture, Http, RawBackend, Table, all_schemes, connect_tls, eventually, request, text,
};

const SHOP: &str = "namespace=\"shop\",ingress=\"web\",service=\"/shop\"";

/// A number that need not be there.
fn count(fixture: &Fixture, line: &str) -> u64 {
    let exported = fixture.exported();
    exported
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))
        .map_or(0, |value| value.parse().expect("a number"))
}

fn requests(fixture: &Fixture, class: &str) -> u64 {
    count(fixture, &format!("lb_l7_route_requests_total{{{SHOP},class=\"{class}\"}}"))
}

fn errors(fixture: &Fixture, blame: &str) -> u64 {
    count(fixture, &format!("lb_l7_route_errors_total{{{SHOP},blame=\"{blame}\"}}"))
}

fn service(fixture: &Fixture, name: &str, more: &str) -> u64 {
    count(fixture, &format!("lb_l7_service_{name}{{namespace=\"shop\",service=\"/shop\"{more}}}"))
}

#[tokio::test]
async fn a_routes_requests_are_counted_with_how_they_ended() {
    let backend = Backend::start(|request| async move {
        let mut response = http::Response::new(text("done"));
        *response.status_mut() = request.uri().path()[6..].parse().expect("a status");
        response
    })
    .await;
    let table = Table::default().rule("a.org", "/shop", &[backend.address]);
    let fixture = Fixture::start(table.rule("a.org", "/other", &[backend.address]).build());
    let mut client = Http::one(fixture.http()).await;
    for path in ["/shop/200", "/shop/201", "/shop/404", "/shop/503", "/none"] {
        client.send(request("a.org", path)).await;
    }
    let stream = connect_tls(fixture.https(), "a.org", &["h2"], all_schemes()).await;
    let mut asked = request("a.org", "/");
    *asked.uri_mut() = "https://a.org/shop/203".parse().expect("a URI");
    Http::two_over(stream).await.send(asked).await;
    eventually("all are over", || requests(&fixture, "2xx") == 3).await;
    assert_eq!(["4xx", "5xx"].map(|class| requests(&fixture, class)), [1, 1]);
    assert_eq!(["client", "upstream", "us"].map(|blame| errors(&fixture, blame)), [0, 1, 0]);
    assert_eq!(count(&fixture, &format!("lb_l7_route_duration_seconds_count{{{SHOP}}}")), 5);
    assert!(!fixture.exported().contains("service=\"/other\",class"), "what never came has no series");
    assert_eq!(service(&fixture, "connects_total", ",result=\"ok\""), 1, "a connection is used again");
    assert_eq!(service(&fixture, "connect_seconds_count", ""), 1);
    assert_eq!(service(&fixture, "response_seconds_count", ""), 5);
    assert_eq!(service(&fixture, "requests_in_flight", ""), 0);
}

#[tokio::test]
async fn what_endpoints_do_is_counted_by_service() {
    let (slow, release) = Backend::slow().await;
    let gone = Backend::says("").await.address;
    let fixture = Fixture::start(Table::default().rule("", "/shop", &[gone]).build());
    assert_eq!(Http::get(fixture.http(), "a", "/shop").await.status, 502);
    assert_eq!(service(&fixture, "connects_total", ",result=\"failed\""), 1);
    eventually("it is over", || errors(&fixture, "upstream") == 1).await;
    let broken = RawBackend::start(|number, mut stream| async move {
        let mut head = [0; 1024];
        drop(stream.read(&mut head).await);
        if number == 0 {
            return;
        }
        std::future::pending().await
    })
    .await;
    let addresses = [broken.address, slow.address];
    fixture.publish(Table::default().rule("", "/shop", &addresses).build());
    // Whichever of the two gets one: the one that breaks off is asked once, and what it had goes to the other.
    while broken.connections() == 0 {
        assert_eq!(Http::get(fixture.http(), "a", "/shop").await.text(), "done");
    }
    assert_eq!(service(&fixture, "retries_total", ""), 1);
    fixture.publish(Table::default().rule("", "/", &[slow.address]).build());
    let named =
        |name: &str| count(&fixture, &format!("lb_l7_service_{name}{{namespace=\"shop\",service=\"/\"}}"));
    let address = fixture.http();
    let asked = tokio::spawn(async move { Http::get(address, "a", "/slow").await });
    eventually("it is under way", || named("requests_in_flight") == 1).await;
    release.notify_one();
    asked.await.expect("no panic");
    eventually("it is over", || named("requests_in_flight") == 0).await;
}

#[tokio::test]
async fn a_series_goes_with_its_route_and_those_beyond_the_limit_share_one() {
    let backend = Backend::says("ok").await;
    let table = |paths: &[&str]| -> RouteTable {
        let rules =
            paths.iter().fold(Table::default(), |table, path| table.rule("", path, &[backend.address]));
        rules.build()
    };
    let fixture = Fixture::start_as(|config| config.route_metrics = 2, table(&["/a", "/b", "/c", "/d"]));
    let mut client = Http::one(fixture.http()).await;
    for path in ["/a", "/b", "/c", "/d"] {
        client.send(request("a", path)).await;
    }
    let beyond = || fixture.metric("lb_l7_series_beyond_limit{of=\"route\"}");
    let sum = || {
        let all = fixture.exported();
        let found = all.lines().filter(|line| line.starts_with("lb_l7_route_requests_total"));
        found
            .map(|line| line.rsplit_once(' ').expect("a value").1.parse::<u64>().expect("a number"))
            .sum::<u64>()
    };
    eventually("all are over", || sum() == 4).await;
    let other =
        "lb_l7_route_requests_total{namespace=\"\",ingress=\"other\",service=\"other\",class=\"2xx\"}";
    assert_eq!((beyond(), fixture.metric(other)), (2, 2));
    fixture.publish(table(&["/e"]));
    let is_there = |service: &str| fixture.exported().contains(&format!("service=\"{service}\",class"));
    let started = Instant::now();
    while !is_there("/e") {
        assert!(started.elapsed() < Duration::from_secs(20), "it has no place\n{}", fixture.exported());
        client.send(request("a", "/e")).await;
    }
    assert!(!["/a", "/b", "/c", "/d"].iter().any(|gone| is_there(gone)));
    assert_eq!(beyond(), 0);
}

#[tokio::test]
async fn without_metrics_of_routes_nothing_is_counted() {
    let backend = Backend::says("ok").await;
    let fixture = Fixture::start_as(|config| config.route_metrics = 0, Table::all_to(&[backend.address]));
    Http::get(fixture.http(), "a", "/").await;
    let exported = fixture.exported();
    assert!(
        !exported.contains("lb_l7_route_requests_total{")
            && !exported.contains("lb_l7_service_connects_total{")
    );
}
