//! A rolling update of a Deployment, as its EndpointSlices tell of it: pods are replaced one by one under load, and no
//! request fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::support::{Backend, Http, Site, eventually, request, text};

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}
";

/// A pod, which answers after a little work, with its conditions.
struct Pod {
    backend: Backend,
    conditions: Value,
}

impl Pod {
    async fn start() -> Self {
        let backend = Backend::start(|request| async move {
            drop(request.into_body().collect().await);
            tokio::time::sleep(Duration::from_millis(3)).await;
            Response::new(text("ok"))
        });
        let starting = json!({"ready": false, "serving": false, "terminating": false});
        Self { backend: backend.await, conditions: starting }
    }

    fn is_ready(&mut self) {
        self.conditions = json!({"ready": true, "serving": true, "terminating": false});
    }

    /// As pods do that are given no time between the change of their slice and their end: both come at once.
    async fn ends(self) {
        self.backend.end().await;
    }

    fn terminates(&mut self) {
        self.conditions = json!({"ready": false, "serving": true, "terminating": true});
    }

    /// A slice of its own, since the ports of pods differ here.
    fn slice(&self) -> Value {
        let address = self.backend.address;
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("shop-{}", address.port()),
                "labels": {"kubernetes.io/service-name": "shop"},
            },
            "ports": [{"name": "", "port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": self.conditions}],
        })
    }
}

/// The state of all pods comes to the node.
fn tell(site: &mut Site, pods: &[Pod]) {
    let items: Vec<_> = pods.iter().map(Pod::slice).collect();
    site.change("slices.json", &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    assert_eq!(site.problems, Vec::<String>::new());
}

/// Asks until it is told to stop; of the requests with POST, which are half of them if there are any, none may be sent twice.
async fn load(
    address: SocketAddr,
    (is_http2, posts): (bool, bool),
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) {
    let mut client = if is_http2 { Http::two(address).await } else { Http::one(address).await };
    let mut count = 0_usize;
    while !stop.load(Ordering::SeqCst) {
        let mut asked = request("a", "/");
        if is_http2 {
            *asked.uri_mut() = "http://a/".parse().expect("a URI");
        }
        if posts && count.is_multiple_of(2) {
            *asked.method_mut() = Method::POST;
        }
        let answer = client.send(asked).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
        count += 1;
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// Three pods that are ready, and so many clients, who may send what must not be sent twice.
async fn start(count: usize, posts: bool) -> (Site, Vec<Pod>, Clients) {
    let mut pods = vec![Pod::start().await, Pod::start().await, Pod::start().await];
    pods.iter_mut().for_each(Pod::is_ready);
    let mut site = Site::start(OBJECTS, &[]).await;
    tell(&mut site, &pods);
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut tasks = JoinSet::new();
    for number in 0..count {
        tasks.spawn(load(site.http(), (number % 2 == 0, posts), stop.clone(), answered.clone()));
    }
    (site, pods, Clients { tasks, stop, answered })
}

/// They ask all the time.
struct Clients {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Clients {
    /// Ends them in order.
    async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(client) = self.tasks.join_next().await {
            client.expect("all of its requests were answered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_replaced_one_by_one_and_no_request_fails() {
    let (mut site, mut pods, clients) = start(8, true).await;
    let answered = clients.answered.clone();
    let more = || {
        let until = answered.load(Ordering::SeqCst) + 50;
        let answered = answered.clone();
        eventually("more are answered", move || answered.load(Ordering::SeqCst) >= until)
    };
    for at in 0..6 {
        more().await;
        pods.push(Pod::start().await);
        tell(&mut site, &pods);
        more().await;
        assert_eq!(pods[3].backend.requests(), 0, "it is not ready");
        pods[3].is_ready();
        tell(&mut site, &pods);
        eventually("the new one has its part", || pods[3].backend.requests() > 0).await;
        pods[0].terminates();
        tell(&mut site, &pods);
        let (mut seen, mut quiet) = (pods[0].backend.requests(), 0);
        while quiet < 3 {
            more().await;
            let now = pods[0].backend.requests();
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
        }
        assert!(seen > 0, "number {at} had its part");
        // What it had under way has ended. Its slice goes later than itself, as in a cluster.
        drop(pods.remove(0));
        more().await;
        tell(&mut site, &pods);
    }
    clients.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_end_while_requests_come_fail_none_that_may_be_sent_twice() {
    let (mut site, mut pods, clients) = start(16, false).await;
    let answered = clients.answered.clone();
    for at in 0..8 {
        let before = pods[0].backend.requests();
        eventually("it has its part", || pods[0].backend.requests() > before + 5).await;
        pods.push(Pod::start().await);
        pods[3].is_ready();
        pods[0].terminates();
        // The kubelet's signal may come before the slice does, or after it.
        let told = at % 2 == 0;
        if told {
            tell(&mut site, &pods);
        }
        let ending = tokio::spawn(pods.remove(0).ends());
        let until = answered.load(Ordering::SeqCst) + 20;
        eventually("others answer", || answered.load(Ordering::SeqCst) >= until).await;
        tell(&mut site, &pods);
        ending.await.expect("what it had under way has ended");
    }
    clients.end().await;
    // Its connection was closed under it, or could not be opened any more.
    let met = ["retries_total{outcome=\"retried\"}", "connects_total{result=\"failed\"}"]
        .map(|line| site.metric(&format!("lb_l7_upstream_{line}")));
    assert!(met.iter().sum::<u64>() > 0, "some met a pod that was ending");
}
