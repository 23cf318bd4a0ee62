//! A route as requests see it: where it leads, and by whose word.

use std::sync::Arc;

use super::in_use::InUse;
use super::router::Leads;
use super::target::Target;
use crate::metrics::{RouteCounts, TrafficMetrics};
use crate::model::{BackendId, ObjectRef, PathRule};

/// A compiled route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) target: Arc<Target>,
    pub(super) names: Arc<Names>,
    /// Where clients send the cookie that leads to their endpoint; none where there is no such cookie, or for all paths.
    pub(super) cookie_path: Option<Box<str>>,
}

/// Where clients send the cookie of a route by this rule, which has no path of its own.
pub(super) fn cookie_path(rule: Option<&PathRule>) -> Option<&str> {
    rule.map(|rule| rule.path().trim_end_matches('/')).filter(|path| !path.is_empty())
}

/// The objects that a request is served by.
#[derive(Debug)]
pub(super) struct Names {
    /// The Ingress, or the IngressParameters.
    pub(super) object: Arc<ObjectRef>,
    /// The Service, and its port.
    pub(super) service: BackendId,
    /// Where its requests are counted, if they are.
    pub(super) counts: Option<RouteCounts>,
}

/// Each pair once.
pub(super) type NamesInUse = InUse<(Arc<ObjectRef>, BackendId), Names>;

/// Those of a route.
pub(super) fn names(known: &mut NamesInUse, leads: Leads<'_>, metrics: &TrafficMetrics) -> Arc<Names> {
    let key = (leads.object.clone(), leads.backend.id.clone());
    known.of(key, |(object, service)| {
        let counts = metrics.route(&service.namespace, &object.name, &service.service);
        Names { object: object.clone(), service: service.clone(), counts }
    })
}
