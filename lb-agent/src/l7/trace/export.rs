//! The thread that sends spans: in batches, each once. What the collector does not take is counted, and told once.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};

use super::{Span, otlp};
use crate::l7::moment::Clock;
use crate::metrics::{SpanEnd, TraceMetrics};

/// Spans are collected for so long: who hands one on then need not wake this thread.
const PAUSE: Duration = Duration::from_millis(200);

/// Of one batch: about a megabyte.
const MOST: usize = 1024;

/// For the collector to take one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of its answer.
const ANSWER: usize = 64 * 1024;

pub(super) struct Exporter {
    client: Client<HttpConnector, Full<Bytes>>,
    collector: Uri,
    node: String,
    metrics: TraceMetrics,
    clock: Clock,
    /// Whether the last batch was not taken.
    is_failing: bool,
}

impl Exporter {
    pub(super) fn new(collector: Uri, node: String, metrics: TraceMetrics) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, collector, node, metrics, clock: Clock::now(), is_failing: false }
    }

    /// Until nobody can hand on spans any more.
    pub(super) async fn run(mut self, mut spans: Receiver<Box<Span>>) {
        let mut batch = Vec::new();
        while let Some(first) = spans.recv().await {
            batch.push(first);
            sleep(PAUSE).await;
            while batch.len() < MOST
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            self.clock.look();
            let body = otlp::body(&batch, &self.node, &self.clock);
            let sent = self.send(body).await;
            let end = if sent.is_ok() { SpanEnd::Sent } else { SpanEnd::Failed };
            self.metrics.spans(end, batch.len() as u64);
            self.tell(sent.err());
            batch.clear();
        }
    }

    async fn send(&self, body: String) -> Result<(), String> {
        let request = Request::post(self.collector.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let asked = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            // Read to its end, the connection can be used again.
            drop(Limited::new(response.into_body(), ANSWER).collect().await);
            if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
    }

    /// Once when it begins to fail, once when it is over.
    fn tell(&mut self, error: Option<String>) {
        let collector = &self.collector;
        match &error {
            Some(error) if !self.is_failing => {
                tracing::warn!(%collector, error, "the collector does not take traces");
            }
            None if self.is_failing => tracing::info!(%collector, "the collector takes traces again"),
            _ => {}
        }
        self.is_failing = error.is_some();
    }
}
