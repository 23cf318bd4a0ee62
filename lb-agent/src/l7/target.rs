//! A backend as requests see it. What a worker knows of its endpoints is in `candidates`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::checks::Group;
use super::reply::Reply;
use crate::metrics::ServiceCounts;
use crate::model::{Backend, BackendProtocol, Treatment};

/// A compiled backend.
#[derive(Debug)]
pub(super) struct Target {
    /// What its endpoints speak.
    pub(super) protocol: BackendProtocol,
    /// How its endpoints get requests.
    pub(super) treatment: Treatment,
    /// Where what its endpoints do is counted, if it is.
    pub(super) counts: Option<ServiceCounts>,
    /// Their health, if they are checked.
    pub(super) group: Option<Arc<Group>>,
    endpoints: Result<Box<[SocketAddr]>, Reply>,
}

impl Target {
    /// From the model, with where it is counted, and the health of its endpoints.
    pub(super) fn compile(
        backend: &Backend,
        counts: Option<ServiceCounts>,
        group: Option<Arc<Group>>,
    ) -> Self {
        let endpoints =
            backend.endpoints.as_ref().map(|all| all.as_slice().into()).map_err(|why| (*why).into());
        let (protocol, treatment) = (backend.protocol.clone(), backend.treatment.clone());
        Self { protocol, treatment, counts, group, endpoints }
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
