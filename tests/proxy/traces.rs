//! Traces: whom they go on with, what endpoints are told, and what a collector hears.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use lb_agent::l7::LastWords;
use lb_agent::l7::trace::{Settings, Tracing};
use lb_agent::metrics::TraceMetrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::support::{Backend, Fixture, Http, Table, eventually, request, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A proxy that traces, in front of a backend that notes the headers it gets.
struct Site {
    fixture: Fixture,
    collector: Backend,
    backend: Backend,
    told: Arc<Mutex<Vec<HeaderMap>>>,
    heard: Arc<Mutex<Vec<Value>>>,
    registry: Registry,
    last_words: Vec<LastWords>,
}

impl Site {
    /// Samples this share; whether the client is a trusted proxy.
    async fn start(sample: f64, is_trusted: bool) -> Self {
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let hears = heard.clone();
        let collector = Backend::start(move |request| {
            let hears = hears.clone();
            async move {
                assert_eq!((request.uri().path(), request.method().as_str()), ("/v1/traces", "POST"));
                assert_eq!(request.headers()["content-type"], "application/json");
                let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                hears.lock().expect("no panic").push(serde_json::from_slice(&body).expect("JSON"));
                Response::new(text("{}"))
            }
        })
        .await;
        let told = Arc::<Mutex<Vec<HeaderMap>>>::default();
        let tells = told.clone();
        let backend = Backend::start(move |request| {
            tells.lock().expect("no panic").push(request.headers().clone());
            let status = if request.uri().path() == "/fails" { 500 } else { 200 };
            async move { Response::builder().status(status).body(text("ok")).expect("a response") }
        })
        .await;
        let mut registry = Registry::default();
        let settings = Settings {
            collector: format!("http://{}", collector.address).parse().expect("an address"),
            sample,
            node: "edge-1".to_owned(),
        };
        let tracing = Tracing::start(settings, TraceMetrics::new(&mut registry)).expect("a thread");
        let mut last_words = Vec::new();
        let set = |config: &mut lb_agent::l7::Config| {
            config.tracing = Some(tracing);
            last_words = config.last_words();
            if is_trusted {
                config.trust.headers = vec!["127.0.0.0/8".parse().expect("a network")];
            }
        };
        let fixture = Fixture::start_as(set, Table::default().rule("a.org", "/", &[backend.address]).build());
        Self { fixture, collector, backend, told, heard, registry, last_words }
    }

    /// Sends a request with these headers, and says what the backend was told.
    async fn ask(&self, path: &str, headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut asked = request("a.org", path);
        for (name, value) in headers {
            asked.headers_mut().append(*name, value.parse().expect("a value"));
        }
        Http::one(self.fixture.http()).await.send(asked).await;
        self.told.lock().expect("no panic").last().cloned().unwrap_or_default()
    }

    /// The spans that the collector has heard of, once they are so many.
    async fn spans(&self, count: usize) -> Vec<Value> {
        let spans = || -> Vec<Value> {
            let heard = self.heard.lock().expect("no panic");
            let all = heard.iter().flat_map(|batch| {
                batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
            });
            all.collect()
        };
        eventually("the collector hears of it", || spans().len() >= count).await;
        spans()
    }
}

/// The trace, the span and the flags that a backend was told of.
fn traceparent(told: &HeaderMap) -> [String; 3] {
    let all: Vec<_> = told.get_all("traceparent").iter().collect();
    assert_eq!(all.len(), 1, "{told:?}");
    let parts: Vec<_> = all[0].to_str().expect("ASCII").split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = parts.try_into().expect("four parts");
    assert_eq!(version, "00");
    [trace, span, flags]
}

/// A span's attribute.
fn attribute(span: &Value, key: &str) -> Value {
    let all = span["attributes"].as_array().expect("attributes");
    let found = all.iter().find(|attribute| attribute["key"] == key);
    found
        .map(|found| found["value"].as_object().expect("a value").values().next().cloned())
        .unwrap_or_default()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_clients_own_trace_is_not_gone_on_with() {
    let site = Site::start(1.0, false).await;
    let theirs = format!("00-{TRACE}-{SPAN}-00");
    let told = site.ask("/x?secret=1", &[("traceparent", &theirs), ("tracestate", "a=1")]).await;
    let [trace, span, flags] = traceparent(&told);
    assert!(trace != TRACE && span != SPAN && flags == "01" && !told.contains_key("tracestate"), "{told:?}");
    let spans = site.spans(1).await;
    assert_eq!((&spans[0]["traceId"], &spans[0]["spanId"]), (&trace.into(), &span.into()), "as it was told");
    assert!(spans[0].get("parentSpanId").is_none());
    let times = ["startTimeUnixNano", "endTimeUnixNano"]
        .map(|name| spans[0][name].as_str().expect("a text").parse::<u128>().expect("a number"));
    assert!(times[0] < times[1], "{times:?}");
    let endpoint = site.backend.address.to_string();
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/x"),
        ("server.address", "a.org"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("edgelb.ingress", "web"),
        ("edgelb.endpoint", endpoint.as_str()),
    ] {
        assert_eq!(attribute(&spans[0], key), expected, "{key} of {}", spans[0]);
    }
    assert_eq!((&spans[0]["kind"], &spans[0]["status"]), (&2.into(), &serde_json::json!({})));
    let heard = site.heard.lock().expect("no panic");
    let resource = &heard[0]["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "host.name"), "edge-1");
}

#[tokio::test]
async fn a_trusted_proxys_trace_is_gone_on_with_as_it_was_sampled() {
    // Nothing would be sampled of ourselves.
    let site = Site::start(0.0, true).await;
    let with = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
    let told = site.ask("/", &[("traceparent", &with("00")), ("tracestate", "a=1")]).await;
    let [trace, span, flags] = traceparent(&told);
    assert!(trace == TRACE && span != SPAN && flags == "00" && told["tracestate"] == "a=1", "{told:?}");
    let new = traceparent(&site.ask("/", &[]).await);
    assert!(new[0] != TRACE && new[2] == "00", "{new:?}");
    let [trace, span, flags] = traceparent(&site.ask("/fails", &[("traceparent", &with("01"))]).await);
    assert!(trace == TRACE && flags == "01");
    let spans = site.spans(1).await;
    assert_eq!(spans.len(), 1, "of the others nobody hears");
    assert_eq!((&spans[0]["parentSpanId"], &spans[0]["spanId"]), (&SPAN.into(), &span.into()));
    assert_eq!(spans[0]["status"], serde_json::json!({ "code": 2, "message": "status" }));
    assert_eq!(attribute(&spans[0], "edgelb.blame"), "upstream");
}

#[tokio::test]
async fn what_the_collector_does_not_take_is_counted_and_nobody_waits() {
    let site = Site::start(1.0, false).await;
    let counted = |line: &str| {
        let mut exported = String::new();
        encode(&mut exported, &site.registry).expect("text format");
        exported.contains(&format!("lb_l7_spans_total{{result={line}\n"))
    };
    site.ask("/", &[]).await;
    site.spans(1).await;
    eventually("it is sent", || counted("\"sent\"} 1")).await;
    let Site { collector, fixture, registry: _, .. } = &site;
    assert_eq!(collector.requests(), 1);
    fixture.publish(Table::default().build());
    site.ask("/", &[]).await;
    let spans = site.spans(2).await;
    assert_eq!(attribute(&spans[1], "error.type"), "no_route", "our own answers are traced too");
    eventually("both are", || counted("\"sent\"} 2") && counted("\"failed\"} 0")).await;
}

#[tokio::test]
async fn a_collector_that_is_gone_holds_nobody_up() {
    let gone = Backend::says("").await.address;
    let backend = Backend::says("ok").await;
    let mut registry = Registry::default();
    let settings = Settings {
        collector: format!("http://{gone}").parse().expect("an address"),
        sample: 1.0,
        node: "edge-1".to_owned(),
    };
    let tracing = Tracing::start(settings, TraceMetrics::new(&mut registry)).expect("a thread");
    let fixture =
        Fixture::start_as(|config| config.tracing = Some(tracing), Table::all_to(&[backend.address]));
    for _ in 0..3 {
        assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
    }
    eventually("they are counted", || {
        let mut exported = String::new();
        encode(&mut exported, &registry).expect("text format");
        exported.contains("lb_l7_spans_total{result=\"failed\"} 3\n")
    })
    .await;
}

#[tokio::test]
async fn without_tracing_headers_pass_as_they_are() {
    let told = Arc::<Mutex<HeaderMap>>::default();
    let tells = told.clone();
    let backend = Backend::start(move |request| {
        *tells.lock().expect("no panic") = request.headers().clone();
        async { Response::new(text("ok")) }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut asked = request("a", "/");
    for (name, value) in [("traceparent", "whatever"), ("tracestate", "a=1")] {
        asked.headers_mut().append(name, value.parse().expect("a value"));
    }
    Http::one(fixture.http()).await.send(asked).await;
    let told = told.lock().expect("no panic").clone();
    assert_eq!(told["traceparent"], "whatever");
    assert_eq!(told["tracestate"], "a=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_last_is_sent_before_the_end() {
    let site = Site::start(1.0, false).await;
    site.ask("/last", &[]).await;
    let Site { fixture, heard, last_words, collector: _collector, .. } = site;
    fixture.proxy.shutdown(Duration::from_secs(1));
    let [end] = &last_words[..] else { panic!("of the traces alone") };
    assert!(end.wait(Duration::from_secs(20)));
    let heard = heard.lock().expect("no panic");
    let span = &heard[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(attribute(span, "url.path"), "/last");
}
