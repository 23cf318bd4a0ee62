//! Policies that a Service asks for by its annotations: in turn, by the requests under way, or by a key.

use std::sync::Arc;

use http::Response;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::Notify;

use super::support::{Backend, Http, Shop, eventually, request, text};

/// A pod that says its number; `/slow` when it is told to.
async fn pod(number: usize, release: &Arc<Notify>) -> Backend {
    let release = release.clone();
    Backend::start(move |request| {
        let release = release.clone();
        async move {
            if request.uri().path() == "/slow" {
                release.notified().await;
            }
            drop(request.into_body().collect().await);
            Response::new(text(number.to_string()))
        }
    })
    .await
}

async fn pods(release: &Arc<Notify>) -> [Backend; 3] {
    [pod(0, release).await, pod(1, release).await, pod(2, release).await]
}

/// Who answers a request with this header.
async fn asked(client: &mut Http, name: &'static str, value: &str) -> String {
    let mut asked = request("a", "/");
    asked.headers_mut().insert(name, value.parse().expect("a header"));
    client.send(asked).await.text().to_owned()
}

#[tokio::test]
async fn in_turn() {
    let release = Arc::default();
    let [one, two, three] = &pods(&release).await;
    let site = Shop::of(json!({"edgelb.dev/load-balance": "round_robin"})).open(&[one, two, three]).await;
    assert_eq!(site.problems, Vec::<String>::new());
    let mut client = Http::one(site.http()).await;
    for _ in 0..30 {
        assert_eq!(client.send(request("a", "/")).await.status, 200);
    }
    assert_eq!([one, two, three].map(Backend::requests), [10, 10, 10]);
}

#[tokio::test]
async fn to_the_one_with_less_to_do() {
    let release = Arc::default();
    let [one, two, _] = &pods(&release).await;
    let site = Shop::of(json!({"edgelb.dev/load-balance": "least_request"})).open(&[one, two]).await;
    let slow = tokio::spawn(Http::get(site.http(), "a", "/slow"));
    eventually("it is under way", || one.requests() + two.requests() == 1).await;
    let (busy, idle) = if one.requests() == 1 { (one, two) } else { (two, one) };
    let mut client = Http::one(site.http()).await;
    for _ in 0..20 {
        assert_eq!(client.send(request("a", "/")).await.status, 200);
    }
    assert_eq!((busy.requests(), idle.requests()), (1, 20));
    release.notify_one();
    assert_eq!(slow.await.expect("no panic").status, 200);
}

#[tokio::test]
async fn by_a_key_of_which_few_move() {
    let release = Arc::default();
    let [one, two, three] = &pods(&release).await;
    for (annotation, name) in [("header:x-tenant", "x-tenant"), ("cookie:session", "cookie")] {
        let shop = Shop::of(json!({"edgelb.dev/upstream-hash-by": annotation}));
        let mut site = shop.open(&[one, two, three]).await;
        assert_eq!(site.problems, Vec::<String>::new());
        let mut client = Http::one(site.http()).await;
        let keys: Vec<String> = (0..60).map(|number| format!("session=tenant-{number}")).collect();
        let mut before = Vec::new();
        for key in &keys {
            before.push(asked(&mut client, name, key).await);
            assert_eq!(before.last(), Some(&asked(&mut client, name, key).await), "{key}");
        }
        for pod in ["0", "1", "2"] {
            assert!(before.iter().filter(|place| *place == pod).count() > 5, "{before:?}");
        }
        shop.tell(&mut site, &[one, three]);
        for (key, place) in keys.iter().zip(&before) {
            let now = asked(&mut client, name, key).await;
            assert!(if place == "1" { now != "1" } else { now == *place }, "{key}: {place}, then {now}");
        }
        shop.tell(&mut site, &[one, two, three]);
        for (key, place) in keys.iter().zip(&before) {
            assert_eq!(asked(&mut client, name, key).await, *place, "{key} is back");
        }
    }
}

#[tokio::test]
async fn a_client_and_a_uri_are_keys_too() {
    let release = Arc::default();
    let [one, two, three] = &pods(&release).await;
    for annotation in ["client", "uri"] {
        let site =
            Shop::of(json!({"edgelb.dev/upstream-hash-by": annotation})).open(&[one, two, three]).await;
        let mut client = Http::one(site.http()).await;
        let first = client.send(request("a", "/a?b")).await.text().to_owned();
        for _ in 0..20 {
            assert_eq!(client.send(request("a", "/a?b")).await.text(), first, "{annotation}");
        }
    }
}

#[tokio::test]
async fn what_is_not_known_is_said_and_requests_are_answered() {
    let release = Arc::default();
    let [one, two, three] = &pods(&release).await;
    let mut site = Shop::of(json!({"edgelb.dev/load-balance": "fastest"})).open(&[one, two, three]).await;
    assert_eq!(site.problems.len(), 1, "{:?}", site.problems);
    let said = &site.problems[0];
    assert!(
        said.contains("metadata.annotations[edgelb.dev/load-balance]") && said.contains("shop"),
        "{said}"
    );
    assert_eq!(Http::get(site.http(), "a", "/").await.status, 200);
    Shop::default().tell(&mut site, &[one, two, three]);
    assert_eq!(site.problems, Vec::<String>::new());
}
