//! How an endpoint of a backend gets a request: by the very values that the data path goes by.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use crate::l7::allowed::Allowed;
use crate::l7::config::Timeouts;
use crate::l7::deadline::Deadlines;
use crate::l7::limits::{Limit, Limits};
use crate::l7::pending::Bounds;
use crate::l7::route::cookie_path;
use crate::l7::sticky::Session;
use crate::model::{
    Backend, HealthCheck, PathRule, Policy, RequestLimits, Retries, Sticky, Treatment, TreatmentExplained,
};

/// Of a request, by the rule that it matched, over TLS or not.
pub(super) fn explained(
    backend: &Backend,
    rule: Option<&PathRule>,
    parts: &Parts,
    is_tls: bool,
    limits: &Limits,
) -> TreatmentExplained {
    let (Treatment { policy, times, retries, .. }, usual) = (&backend.treatment, Timeouts::by(limits));
    let allowed = Allowed::new(
        &Deadlines::new(usual.tick(limits.time(Limit::HeadTime))),
        &usual,
        &backend.treatment,
        None,
    );
    let may_repeat = retries.may_repeat(&parts.method);
    let hash_by = if let Policy::Hash(by) = policy { &**by } else { &[] };
    let sticky = backend.treatment.sticky.as_ref().map(|sticky| cookie(sticky, rule, parts, is_tls));
    let (endpoint_requests, pending_requests, pending_time) =
        requests(&backend.treatment.limits, limits, usual.response);
    TreatmentExplained {
        load_balance: policy.name().to_owned(),
        hash_by: hash_by.iter().map(ToString::to_string).collect(),
        sticky,
        connect: millis(allowed.connect),
        attempt: millis(allowed.attempt),
        request: millis(allowed.left().unwrap_or_default()),
        send: millis(allowed.send),
        read: times.read.map(millis),
        tries: if may_repeat { retries.tries } else { 1 },
        within: retries.within.map(millis),
        retried_on: conditions(retries, may_repeat),
        endpoint_requests,
        pending_requests,
        pending_time: millis(pending_time),
        ejection: Some(backend.treatment.ejection.unwrap_or_default().to_string()),
        health_check: backend.treatment.check.as_deref().map(check),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn cookie(sticky: &Arc<Sticky>, rule: Option<&PathRule>, parts: &Parts, is_tls: bool) -> String {
    Session::new(sticky, &parts.headers, cookie_path(rule), is_tls).written("...")
}

/// Of all workers together.
fn requests(own: &RequestLimits, limits: &Limits, response: Duration) -> (u64, u64, Duration) {
    let bounds = Bounds::new(limits, 1, response).with(own);
    (bounds.at_endpoint.into(), u64::try_from(bounds.waiting).unwrap_or(u64::MAX), bounds.time)
}

/// What an endpoint may have seen goes on only if it may be seen twice.
fn conditions(retries: &Retries, may_repeat: bool) -> Vec<String> {
    let all = [
        (retries.on_connect, "connect"),
        (retries.on_error && may_repeat, "error"),
        (retries.on_timeout && may_repeat, "timeout"),
    ];
    let words = all.into_iter().filter(|(is_on, _)| *is_on).map(|(_, word)| word.to_owned());
    let statuses = retries.on_status.iter().filter(|_| may_repeat).map(ToString::to_string);
    words.chain(statuses).collect()
}

fn check(check: &HealthCheck) -> String {
    let HealthCheck { path, interval, timeout, healthy, unhealthy, status, host: _ } = check;
    format!(
        "GET {path} every {interval:?} within {timeout:?}, status {}-{}; {unhealthy} bad ones in a row, {healthy} good ones",
        status.start(),
        status.end()
    )
}
