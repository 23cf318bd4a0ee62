//! The flags about what is seen of requests from outside.

use clap::Args;

use super::AccessLog;
use crate::l7::DEFAULT_ROUTE_METRICS;

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
}
