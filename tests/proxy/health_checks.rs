//! Health checks that a Service asks for: who fails them gets no requests, unless most do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use lb_agent::model::{CheckResult, CheckState};
use serde_json::{Value, json};

use super::support::{Backend, Http, Shop, Site, Speaks, eventually, request, text};

/// A pod whose health is what it is told.
struct Pod {
    backend: Backend,
    status: Arc<AtomicU16>,
    checks: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Pod {
    async fn start(speaks: Speaks) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let (checks, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (health, checked, asked) = (status.clone(), checks.clone(), requests.clone());
        let backend = Backend::speaking(speaks, move |request| {
            let mut response = Response::new(text("pod"));
            if request.uri().path() == "/healthz" {
                checked.fetch_add(1, Ordering::SeqCst);
                let status = health.load(Ordering::SeqCst);
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            } else {
                asked.fetch_add(1, Ordering::SeqCst);
            }
            async move { response }
        })
        .await;
        Self { backend, status, checks, requests }
    }

    fn is(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }
}

const FAILING: &str = "lb_l7_failing_endpoints";

/// A Service that is checked often.
fn checked() -> Value {
    json!({"edgelb.dev/health-check": "path=/healthz, interval=100ms, timeout=100ms, healthy=2, unhealthy=2"})
}

/// How many of some requests each pod gets.
async fn asked(site: &Site, pods: &[&Pod]) -> Vec<usize> {
    let before: Vec<_> = pods.iter().map(|pod| pod.requests()).collect();
    let mut client = Http::one(site.http()).await;
    for _ in 0..30 {
        assert_eq!(client.send(request("a", "/")).await.status, 200);
    }
    pods.iter().zip(before).map(|(pod, before)| pod.requests() - before).collect()
}

async fn pods() -> [Pod; 3] {
    let pod = || Pod::start(Speaks::default());
    [pod().await, pod().await, pod().await]
}

#[tokio::test]
async fn who_fails_gets_no_requests_until_it_is_well() {
    let [one, two, three] = &pods().await;
    let site = Shop::of(checked()).open(&[&one.backend, &two.backend, &three.backend]).await;
    assert_eq!(site.problems, Vec::<String>::new());
    eventually("all are checked", || [one, two, three].iter().all(|pod| pod.checks() > 1)).await;
    one.is(500);
    eventually("it fails", || site.metric(FAILING) == 1).await;
    let shares = asked(&site, &[one, two, three]).await;
    assert_eq!((shares[0], shares[1] + shares[2]), (0, 30));
    let address = one.backend.address;
    let known = site.proxy.observer().endpoints(&[address]).await;
    let expected = CheckState { is_failing: true, last: CheckResult::Status(500) };
    assert_eq!(known[&address].check, Some(expected));
    one.is(204);
    eventually("it is well", || site.metric(FAILING) == 0).await;
    while one.requests() == 0 {
        asked(&site, &[one]).await;
    }
    assert!(site.metric("lb_l7_health_checks_total{result=\"status\"}") >= 2);
}

#[tokio::test]
async fn where_most_fail_all_get_requests() {
    let [one, two, three] = &pods().await;
    [one, two].iter().for_each(|pod| pod.is(500));
    let site = Shop::of(checked()).open(&[&one.backend, &two.backend, &three.backend]).await;
    eventually("two fail", || site.metric(FAILING) == 2).await;
    eventually("all are used", || site.metric("lb_l7_panicking_backends") == 1).await;
    while [one, two, three].iter().any(|pod| pod.requests() == 0) {
        asked(&site, &[one]).await;
    }
    two.is(200);
    eventually("one is well", || site.metric("lb_l7_panicking_backends") == 0).await;
    assert_eq!(asked(&site, &[one]).await, [0]);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_not_checked_any_more() {
    let [one, two, _] = &pods().await;
    let shop = Shop::of(checked());
    let mut site = shop.open(&[&one.backend, &two.backend]).await;
    one.is(500);
    eventually("it fails", || site.metric(FAILING) == 1).await;
    shop.tell(&mut site, &[&two.backend]);
    // The worker lets go of the old state when it next looks.
    eventually("it is forgotten", || site.metric(FAILING) == 0).await;
    let before = (one.checks(), two.checks());
    eventually("the other one is checked", || two.checks() > before.1 + 5).await;
    assert!(one.checks() <= before.0 + 1, "but for one that was under way");
}

#[tokio::test]
async fn endpoints_are_asked_once_in_what_they_speak() {
    for (protocol, http2, tls) in
        [("HTTP", false, false), ("HTTPS", false, true), ("H2C", true, false), ("H2", true, true)]
    {
        let alpn = if http2 { "h2" } else { "http/1.1" };
        let speaks = if tls { Speaks::tls(http2, &[alpn]) } else { Speaks { http2, tls: None } };
        let pod = Pod::start(speaks).await;
        let ingress = json!({"edgelb.dev/backend-protocol": protocol});
        let began = Instant::now();
        let site = Shop { service: checked(), ingress }.open(&[&pod.backend]).await;
        eventually("it is checked", || pod.checks() > 10).await;
        let most = began.elapsed().as_millis() / Duration::from_millis(90).as_millis() + 1;
        let checks = pod.checks();
        assert!(checks as u128 <= most, "{protocol}: {checks} checks, {most} at most");
        // A machine with much to do may answer too late now and then.
        let passed = || site.metric("lb_l7_health_checks_total{result=\"passed\"}");
        eventually("it is well", || passed() > 0 && site.metric(FAILING) == 0).await;
        assert_eq!(asked(&site, &[&pod]).await, [30], "{protocol}");
    }
}

#[tokio::test]
async fn who_takes_no_connection_or_does_not_answer_fails() {
    let hangs = Backend::start(|_| std::future::pending()).await;
    let gone = Backend::says("gone").await;
    let [one, two, three] = &pods().await;
    let pods = [&hangs, &gone, &one.backend, &two.backend, &three.backend];
    let mut site = Shop::of(checked()).open(&pods).await;
    drop(gone);
    eventually("two fail", || site.metric(FAILING) == 2).await;
    for result in ["connect", "time_out"] {
        let line = format!("lb_l7_health_checks_total{{result=\"{result}\"}}");
        assert!(site.metric(&line) > 0, "{result}");
    }
    assert_eq!(asked(&site, &[one, two, three]).await.iter().sum::<usize>(), 30);
    let wrong = json!({"edgelb.dev/health-check": "path=/healthz, interval=5"});
    Shop::of(wrong).tell(&mut site, &[&one.backend]);
    let said = site.problems.join("\n");
    assert!(
        said.contains("metadata.annotations[edgelb.dev/health-check]: interval: \"5\" is not a time"),
        "{said}"
    );
    eventually("nobody is checked", || site.metric(FAILING) == 0).await;
    assert_eq!(asked(&site, &[one]).await, [30]);
}
