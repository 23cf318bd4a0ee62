//! Policies that a Service asks for by its annotations: in turn, by the requests under way, or by a key.

use std::sync::Arc;

use http::Response;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::Notify;

use super::support::{Backend, Http, Site, eventually, request, text};

const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}
";

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

/// The Service with these annotations has these pods.
fn tell(site: &mut Site, annotations: &serde_json::Value, pods: &[&Backend]) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "annotations": annotations},
        "spec": {"ports": [{"port": 80}]},
    });
    let slices = pods.iter().map(|pod| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("shop-{}", pod.address.port()),
                "labels": {"kubernetes.io/service-name": "shop"},
            },
            "ports": [{"name": "", "port": pod.address.port()}],
            "endpoints": [{"addresses": [pod.address.ip().to_string()]}],
        })
    });
    let items: Vec<_> = std::iter::once(service).chain(slices).collect();
    site.change("shop.json", &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
}

async fn pods(release: &Arc<Notify>) -> [Backend; 3] {
    [pod(0, release).await, pod(1, release).await, pod(2, release).await]
}

async fn site(annotations: &serde_json::Value, pods: &[&Backend]) -> Site {
    let mut site = Site::start(INGRESS, &[]).await;
    tell(&mut site, annotations, pods);
    site
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
    let site = site(&json!({"edgelb.dev/load-balance": "round_robin"}), &[one, two, three]).await;
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
    let site = site(&json!({"edgelb.dev/load-balance": "least_request"}), &[one, two]).await;
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
        let annotations = json!({"edgelb.dev/upstream-hash-by": annotation});
        let mut site = site(&annotations, &[one, two, three]).await;
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
        tell(&mut site, &annotations, &[one, three]);
        for (key, place) in keys.iter().zip(&before) {
            let now = asked(&mut client, name, key).await;
            assert!(if place == "1" { now != "1" } else { now == *place }, "{key}: {place}, then {now}");
        }
        tell(&mut site, &annotations, &[one, two, three]);
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
        let annotations = json!({"edgelb.dev/upstream-hash-by": annotation});
        let site = site(&annotations, &[one, two, three]).await;
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
    let mut site = site(&json!({"edgelb.dev/load-balance": "fastest"}), &[one, two, three]).await;
    assert_eq!(site.problems.len(), 1, "{:?}", site.problems);
    let said = &site.problems[0];
    assert!(
        said.contains("metadata.annotations[edgelb.dev/load-balance]") && said.contains("shop"),
        "{said}"
    );
    assert_eq!(Http::get(site.http(), "a", "/").await.status, 200);
    tell(&mut site, &json!({}), &[one, two, three]);
    assert_eq!(site.problems, Vec::<String>::new());
}
