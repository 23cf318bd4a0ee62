//! Traces: a span for each request that is sampled, to a collector of OpenTelemetry. Requests hand a span on and never wait:
//! a thread of its own (`export`) sends them, and what it has no room for is counted instead.

mod context;
mod export;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzed;
mod otlp;

use std::io;

use http::{HeaderMap, Uri};
use thiserror::Error;
use tokio::sync::mpsc;

pub(super) use self::context::Place;
use self::context::parent;
use self::export::Exporter;
use super::access_log::Record;
use super::last_words::LastWords;
use super::request_id::RequestIds;
use crate::metrics::{SpanEnd, TraceMetrics};

/// Spans that wait for the thread: with more, the collector does not keep up.
const ROOM: usize = 8 * 1024;

/// Where a collector takes traces, below its address (OTLP/HTTP).
const PATH: &str = "/v1/traces";

/// Which requests are traced, and where to.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The collector.
    pub collector: Collector,
    /// Of the requests that come without a trace, this share is sampled: from 0 to 1.
    pub sample: f64,
    /// This node's name.
    pub node: String,
}

/// A collector's address, as `http://host:4318`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collector(Uri);

/// What is no address of a collector.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("expected the address of a collector of OTLP over HTTP, such as http://collector.example:4318")]
pub struct NoCollector;

impl std::str::FromStr for Collector {
    type Err = NoCollector;

    fn from_str(text: &str) -> Result<Self, NoCollector> {
        let base: Uri = text.trim_end_matches('/').parse().map_err(|_| NoCollector)?;
        let is_plain =
            base.scheme_str() == Some("http") && base.authority().is_some() && base.query().is_none();
        if !is_plain {
            return Err(NoCollector);
        }
        let whole = format!("{}{PATH}", text.trim_end_matches('/'));
        whole.parse().map(Self).map_err(|_| NoCollector)
    }
}

/// Tracing at work. A clone hands spans to the same collector; with the last one, the thread ends.
#[derive(Clone, Debug)]
pub struct Tracing {
    spans: mpsc::Sender<Box<Span>>,
    metrics: TraceMetrics,
    /// Of the 2^64 ends that a trace's id may have, so many are sampled.
    sampled: u128,
    end: LastWords,
}

/// A request as a span.
#[derive(Debug)]
struct Span {
    place: Place,
    record: Box<Record>,
}

impl Tracing {
    /// Starts the thread. Whether the collector is there shows when there is something to send.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(settings: Settings, metrics: TraceMetrics) -> io::Result<Self> {
        let (spans, waiting) = mpsc::channel(ROOM);
        let Settings { collector, sample, node } = settings;
        let exporter = Exporter::new(collector.0, node, metrics.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || runtime.block_on(exporter.run(waiting));
        let end = LastWords::of("traces", run)?;
        Ok(Self { spans, metrics, sampled: share(sample), end })
    }

    /// What ends once the collector has all, or would not take it.
    pub(super) fn end(&self) -> LastWords {
        self.end.clone()
    }

    /// The place of a request in a trace: in that of a proxy in front of us, which is trusted, or in a new one.
    pub(super) fn place(&self, is_trusted: bool, headers: &HeaderMap, ids: &RequestIds) -> Place {
        let (trace, span) = ids.trace_and_span();
        match parent(headers).filter(|_| is_trusted) {
            Some(parent) => Place::below(parent, span),
            None => Place::new(trace, span, u128::from(trace as u64) < self.sampled),
        }
    }

    /// A request that is sampled is over.
    pub(super) fn send(&self, place: Place, record: Box<Record>) {
        if self.spans.try_send(Box::new(Span { place, record })).is_err() {
            self.metrics.spans(SpanEnd::Dropped, 1);
        }
    }
}

fn share(sample: f64) -> u128 {
    (sample.clamp(0.0, 1.0) * 2_f64.powi(64)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_reached_over_http() {
        let parse = |text: &str| text.parse::<Collector>().map(|collector| collector.0.to_string());
        assert_eq!(parse("http://c.example:4318"), Ok("http://c.example:4318/v1/traces".to_owned()));
        assert_eq!(parse("http://[2001:db8::1]:80/x/"), Ok("http://[2001:db8::1]:80/x/v1/traces".to_owned()));
        for wrong in ["", "c.example:4318", "https://c.example", "/v1", "http://", "http://a/?x"] {
            assert_eq!(parse(wrong), Err(NoCollector), "{wrong}");
        }
    }

    #[test]
    fn a_share_of_new_traces_is_sampled() {
        let ids = RequestIds::new(7);
        let metrics = TraceMetrics::new(&mut prometheus_client::registry::Registry::default());
        let end = LastWords::of("nobody", || ()).expect("a thread");
        let tracing = |sample| {
            let (spans, metrics, end) = (mpsc::channel(1).0, metrics.clone(), end.clone());
            Tracing { spans, metrics, sampled: share(sample), end }
        };
        for (sample, expected) in [(0.0, 0..=0), (0.25, 150..=350), (1.0, 1000..=1000)] {
            let tracing = tracing(sample);
            let sampled = |_: &usize| tracing.place(true, &HeaderMap::new(), &ids).is_sampled();
            let count = (0..1000).filter(sampled).count();
            assert!(expected.contains(&count), "{count} at {sample}");
        }
    }
}
