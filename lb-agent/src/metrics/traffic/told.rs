//! The series as Prometheus reads them, with their names. What never happened has none, so that routes cost little.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{RouteShard, ServiceShard, TrafficMetrics, lock};
use crate::l7::{Blame, CallEnd};
use crate::metrics::Named;
use crate::metrics::l7::CLASSES;
use crate::metrics::sharded::{PerThread, RESULTS};
use crate::metrics::times::{Times, Told};

const ROUTE_REQUESTS: Named =
    ("lb_l7_route_requests", "Requests that took this Ingress's way to this Service, by status class");
const ROUTE_ERRORS: Named = (
    "lb_l7_route_errors",
    "Those of them that did not end well, by who is to blame; statuses from 500 included",
);
const ROUTE_CALLS: Named =
    ("lb_l7_route_grpc_calls", "Those of them that are calls of gRPC, by their status");
const ROUTE_TIME: Named = (
    "lb_l7_route_duration_seconds",
    "How long they took, from the head of the request to the end of the response",
);
const SERVICE_CONNECTS: Named =
    ("lb_l7_service_connects", "Connections opened to the Service's endpoints, by result");
const SERVICE_CONNECT_TIME: Named =
    ("lb_l7_service_connect_seconds", "How long it took to open them, TLS included, or to fail");
const SERVICE_RESPONSE_TIME: Named = (
    "lb_l7_service_response_seconds",
    "How long its endpoints took to begin their response, from when they had the request",
);
const SERVICE_RETRIES: Named =
    ("lb_l7_service_retries", "Requests that were sent once more, or to another of its endpoints");
const SERVICE_IN_FLIGHT: Named = ("lb_l7_service_requests_in_flight", "Requests under way at its endpoints");
const SERVICE_PENDING: Named =
    ("lb_l7_service_requests_pending", "Requests that wait until one of its endpoints has less to do");

const BEYOND: Named = (
    "lb_l7_series_beyond_limit",
    "Routes and Services without series of their own: there are as many as --route-metrics allows.",
);

const ROUTE_LABELS: [&str; 3] = ["namespace", "ingress", "service"];
const SERVICE_LABELS: [&str; 2] = ["namespace", "service"];

impl Collector for TrafficMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (routes, services) = (lock(&self.routes).all(), lock(&self.services).all());
        let mut beyond = encoder.encode_descriptor(BEYOND.0, BEYOND.1, None, MetricType::Gauge)?;
        for (of, count) in [("route", routes.beyond), ("service", services.beyond)] {
            ConstGauge::new(count as u64).encode(beyond.encode_family(&[("of", of)])?)?;
        }
        let tallies = routes.series.iter().map(|(key, tally)| (key, &tally.0)).collect();
        encode_routes(&mut Table { encoder: &mut encoder, names: ROUTE_LABELS, all: tallies })?;
        let tallies = services.series.iter().map(|(key, tally)| (key, &tally.0)).collect();
        encode_services(&mut Table { encoder: &mut encoder, names: SERVICE_LABELS, all: tallies })
    }
}

fn encode_routes(table: &mut Table<'_, '_, 3, RouteShard>) -> fmt::Result {
    table.counters(ROUTE_REQUESTS, "class", &CLASSES, |own, class| &own.requests[class])?;
    table.counters(ROUTE_ERRORS, "blame", &Blame::ALL.map(Blame::label), |own, blame| &own.errors[blame])?;
    table.counters(ROUTE_CALLS, "status", &CallEnd::ALL.map(CallEnd::label), |own, end| &own.calls[end])?;
    table.times(ROUTE_TIME, |own| &own.times)
}

fn encode_services(table: &mut Table<'_, '_, 2, ServiceShard>) -> fmt::Result {
    table.counters(SERVICE_CONNECTS, "result", &RESULTS, |own, result| &own.connects[result])?;
    table.times(SERVICE_CONNECT_TIME, |own| &own.connect_times)?;
    table.times(SERVICE_RESPONSE_TIME, |own| &own.response_times)?;
    table.each(SERVICE_RETRIES, MetricType::Counter, |all, metric| {
        ConstCounter::new(all.sum(|own| &own.retries)).encode(metric)
    })?;
    table.gauges(SERVICE_IN_FLIGHT, |own| &own.in_flight)?;
    table.gauges(SERVICE_PENDING, |own| &own.pending)
}

/// Series with the same labels, of one encoder.
struct Table<'a, 'e, const N: usize, T> {
    encoder: &'a mut DescriptorEncoder<'e>,
    names: [&'static str; N],
    all: Vec<(&'a [Box<str>; N], &'a PerThread<T>)>,
}

impl<const N: usize, T> Table<'_, '_, N, T> {
    fn each(
        &mut self,
        named: Named,
        kind: MetricType,
        encode: impl Fn(&PerThread<T>, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(named.0, named.1, None, kind)?;
        for (values, all) in &self.all {
            encode(all, metric.encode_family(&labels(self.names, values))?)?;
        }
        Ok(())
    }

    /// One for each value of a further label, as far as it was counted.
    fn counters(
        &mut self,
        named: Named,
        label: &'static str,
        values: &[&'static str],
        number: impl Fn(&T, usize) -> &AtomicU64,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(named.0, named.1, None, MetricType::Counter)?;
        for (key, all) in &self.all {
            for (place, value) in values.iter().enumerate() {
                let count = all.sum(|own| number(own, place));
                if count > 0 {
                    let mut labels = labels(self.names, key);
                    labels.push((label, value));
                    ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn gauges(&mut self, named: Named, number: impl Fn(&T) -> &AtomicU64) -> fmt::Result {
        self.each(named, MetricType::Gauge, |all, metric| ConstGauge::new(all.sum(&number)).encode(metric))
    }

    fn times(&mut self, named: Named, times: impl Fn(&T) -> &Times) -> fmt::Result {
        self.each(named, MetricType::Histogram, |all, mut metric| {
            let Told { seconds, count, buckets } = Times::told(all, &times);
            metric.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
        })
    }
}

fn labels<'a, const N: usize>(
    names: [&'static str; N],
    values: &'a [Box<str>; N],
) -> Vec<(&'static str, &'a str)> {
    names.into_iter().zip(values.iter().map(|value| &**value)).collect()
}
