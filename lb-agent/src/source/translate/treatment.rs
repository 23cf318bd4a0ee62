//! Annotations -> how endpoints get requests: ours of a Service, which stand above those of ingress-nginx of an Ingress.
//! What cannot be read is said, and counts as not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::Ingress;

use super::ejection::ejection;
use super::health_check::health_check;
use super::{policy, sticky, times};
use crate::model::{
    Ejection, HealthCheck, ObjectRef, Policy, Problem, ProxyVersion, RequestLimits, Retries, Sticky, Times,
    Treatment,
};
use crate::source::{Index, names};

/// What somebody says of it; the rest is left to others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Wishes {
    policy: Option<Policy>,
    sticky: Option<Arc<Sticky>>,
    check: Option<Arc<HealthCheck>>,
    ejection: Option<Arc<Ejection>>,
    times: Option<Arc<Times>>,
    retries: Option<Arc<Retries>>,
    limits: Option<Arc<RequestLimits>>,
    proxy_header: Option<Arc<ProxyVersion>>,
}

impl Wishes {
    /// Those of a Service.
    pub(super) fn of_service(service: &ObjectRef, index: &Index, problems: &mut Vec<Problem>) -> Self {
        let annotations = index.service(service).and_then(|object| object.metadata.annotations.as_ref());
        let Some(annotations) = annotations else { return Self::default() };
        let mut own = Own { service, annotations, problems };
        Self {
            sticky: own.read(names::STICKY, sticky::sticky, "clients get no cookie"),
            check: own.read(names::HEALTH_CHECK, health_check, "endpoints are not checked"),
            ejection: own.read(names::EJECTION, ejection, "those that fail are set aside as is usual"),
            times: own.read(names::TIMES, times::times, "the usual times count"),
            retries: own.read(names::RETRIES, times::retries, "what is usual is tried again"),
            limits: own.read(names::LIMITS, times::limits, "the operator's limits count"),
            proxy_header: own.read(names::SEND_PROXY, proxy_version, "endpoints get no PROXY header"),
            policy: policy::of_service(service, annotations, problems),
        }
    }

    /// Those of an Ingress.
    pub(super) fn of_ingress(name: &ObjectRef, ingress: &Ingress, problems: &mut Vec<Problem>) -> Self {
        let annotations = ingress.metadata.annotations.as_ref();
        let of_nginx = |name: &str| names::OF_NGINX.contains(&name);
        let is_any = |key: &String| key.strip_prefix(names::NGINX).is_some_and(of_nginx);
        let Some(annotations) = annotations.filter(|all| all.keys().any(is_any)) else {
            return Self::default();
        };
        let read = |part: &'static str| {
            let key = [names::NGINX, part].concat();
            annotations.get(&key).map(|value| value.trim())
        };
        let mut wrong = |part: &'static str, wanted: &str| {
            let (key, value) = ([names::NGINX, part].concat(), read(part).unwrap_or_default());
            problems.push(unread(name, &key, &format!("{value:?} is not {wanted}"), "it is ignored"));
        };
        Self {
            policy: policy::of_nginx(read, &mut wrong),
            sticky: sticky::of_nginx(read, &mut wrong).map(Arc::new),
            times: times::times_of_nginx(read, &mut wrong).map(Arc::new),
            retries: times::retries_of_nginx(read, &mut wrong).map(Arc::new),
            check: None,
            ejection: None,
            limits: None,
            proxy_header: None,
        }
    }

    /// The PROXY header with which connections begin.
    pub(super) fn proxy_header(&self) -> Option<ProxyVersion> {
        self.proxy_header.as_deref().copied()
    }

    /// What comes of them, and of those that count where these say nothing.
    pub(super) fn over(&self, other: &Self) -> Treatment {
        Treatment {
            policy: self.policy.as_ref().or(other.policy.as_ref()).cloned().unwrap_or_default(),
            sticky: self.sticky.as_ref().or(other.sticky.as_ref()).cloned(),
            limits: self.limits.as_deref().or(other.limits.as_deref()).copied().unwrap_or_default(),
            check: self.check.as_ref().or(other.check.as_ref()).cloned(),
            ejection: self.ejection.as_deref().or(other.ejection.as_deref()).copied(),
            times: self.times.as_ref().or(other.times.as_ref()).map(|times| **times).unwrap_or_default(),
            retries: self
                .retries
                .as_ref()
                .or(other.retries.as_ref())
                .map(|all| Retries::clone(all))
                .unwrap_or_default(),
        }
    }
}

fn proxy_version(text: &str) -> Result<ProxyVersion, String> {
    match text {
        "v1" => Ok(ProxyVersion::V1),
        "v2" => Ok(ProxyVersion::V2),
        _ => Err(format!("{text:?} is not v1 or v2")),
    }
}

/// Our annotations of a Service.
struct Own<'a> {
    service: &'a ObjectRef,
    annotations: &'a BTreeMap<String, String>,
    problems: &'a mut Vec<Problem>,
}

impl Own<'_> {
    /// What one says; if it cannot be read, `so` is what comes of it.
    fn read<T>(&mut self, key: &str, parse: fn(&str) -> Result<T, String>, so: &str) -> Option<Arc<T>> {
        let parsed = parse(self.annotations.get(key)?.trim());
        parsed.map(Arc::new).map_err(|wrong| self.problems.push(unread(self.service, key, &wrong, so))).ok()
    }
}

/// An annotation that cannot be read, and what comes of it.
pub(super) fn unread(object: &ObjectRef, key: &str, wrong: &str, so: &str) -> Problem {
    Problem::error(object, format!("metadata.annotations[{key}]"), format!("{wrong}: {so}"))
}
