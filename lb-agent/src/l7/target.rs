//! A backend as requests see it. What a worker knows of its endpoints is in `candidates`.

use std::net::SocketAddr;

use super::reply::Reply;
use crate::metrics::{ServiceCounts, TrafficMetrics};
use crate::model::{Backend, BackendProtocol, Policy};

/// A compiled backend.
#[derive(Debug)]
pub(super) struct Target {
    /// What its endpoints speak.
    pub(super) protocol: BackendProtocol,
    /// Who of its endpoints gets a request.
    pub(super) policy: Policy,
    /// Where what its endpoints do is counted, if it is.
    pub(super) counts: Option<ServiceCounts>,
    endpoints: Result<Box<[SocketAddr]>, Reply>,
}

impl Target {
    /// From the model.
    pub(super) fn compile(backend: &Backend, metrics: &TrafficMetrics) -> Self {
        let endpoints =
            backend.endpoints.as_ref().map(|all| all.as_slice().into()).map_err(|why| (*why).into());
        let counts = metrics.service(&backend.id.namespace, &backend.id.service);
        Self { protocol: backend.protocol.clone(), policy: backend.policy.clone(), counts, endpoints }
    }

    /// Its endpoints, at least one.
    pub(super) fn endpoints(&self) -> Result<&[SocketAddr], Reply> {
        match &self.endpoints {
            Ok(endpoints) if endpoints.is_empty() => Err(Reply::Unavailable),
            Ok(endpoints) => Ok(endpoints),
            Err(reply) => Err(*reply),
        }
    }
}
