//! The flags about what is seen of requests from outside.

use clap::Args;

use super::AccessLog;
use crate::l7::DEFAULT_ROUTE_METRICS;
use crate::l7::trace::Collector;

/// What is told of requests, and where.
#[derive(Clone, Debug, Args)]
pub struct Observe {
    /// Where requests are logged.
    #[command(flatten)]
    pub access_log: AccessLog,
    /// So many routes (an Ingress's way to a Service), and so many Services, have metrics of their own; those beyond are
    /// counted together, under the name `other`. Each route is some twenty series. 0: no metrics by route or Service.
    #[arg(long, env = "EDGELB_ROUTE_METRICS", value_name = "COUNT", default_value_t = DEFAULT_ROUTE_METRICS)]
    pub route_metrics: usize,
    /// Name this node in each response, by the header X-Served-By.
    #[arg(long, env = "EDGELB_SERVED_BY")]
    pub served_by: bool,
    /// Trace requests: the address of a collector of OTLP over HTTP, http://HOST:4318. The W3C header `traceparent` of trusted
    /// proxies is gone on with, others begin a trace; endpoints are told. What the collector is too slow for is left out,
    /// and counted (lb_l7_spans_total). Without it, such headers pass as they are.
    #[arg(long, env = "EDGELB_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<Collector>,
    /// The share of new traces that is sampled, from 0 to 1. In a trace that is gone on with, whoever began it has decided.
    #[arg(long, env = "EDGELB_TRACE_SAMPLE", value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    pub trace_sample: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is no number from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_none_to_all() {
        assert_eq!(["0", "0.25", "1"].map(share), [Ok(0.0), Ok(0.25), Ok(1.0)]);
        assert!(["", "-0.1", "1.1", "nan", "half"].iter().all(|text| share(text).is_err()));
    }
}
