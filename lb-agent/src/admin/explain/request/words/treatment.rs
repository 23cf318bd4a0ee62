//! How a backend's endpoints get a request, for people.

use std::time::Duration;

use crate::model::TreatmentExplained;

/// What there is to say, each with what it is about.
pub(super) fn words(told: &TreatmentExplained) -> Vec<(&'static str, String)> {
    let mut all = vec![("chosen", chosen(told))];
    all.extend(told.sticky.iter().map(|cookie| ("comes back", format!("by a cookie: {cookie}"))));
    all.extend([("times", times(told)), ("retries", retries(told)), ("limits", limits(told))]);
    all.extend(told.ejection.iter().map(|rule| ("set aside", rule.clone())));
    all.extend(told.health_check.iter().map(|check| ("checked", check.clone())));
    all
}

fn chosen(told: &TreatmentExplained) -> String {
    match (told.load_balance.as_str(), &*told.hash_by) {
        ("round_robin", _) => "each in turn (round_robin)".to_owned(),
        ("least_request", _) => "of two at random, the one with fewer requests (least_request)".to_owned(),
        (_, []) => "of two at random, the one that answers sooner and has less to do (peak_ewma)".to_owned(),
        (_, by) => format!("by {}: one key, one endpoint (hash)", by.join(" and ")),
    }
}

fn time(millis: u64) -> String {
    format!("{:?}", Duration::from_millis(millis))
}

fn times(told: &TreatmentExplained) -> String {
    let TreatmentExplained { connect, attempt, request, send, read, .. } = told;
    let read = read.map_or_else(|| "no limit".to_owned(), time);
    format!(
        "connect {}, try {}, request {}, send {}, read {read}",
        time(*connect),
        time(*attempt),
        time(*request),
        time(*send)
    )
}

fn retries(told: &TreatmentExplained) -> String {
    let TreatmentExplained { tries, within, retried_on, .. } = told;
    if retried_on.is_empty() {
        return "none".to_owned();
    }
    let within = within.map(|within| format!(", none later than {}", time(within))).unwrap_or_default();
    let seen = match tries {
        1 => "no endpoint that may have seen it is followed by another".to_owned(),
        tries => format!("{tries} tries that an endpoint may have seen, if it has no body"),
    };
    format!("at another endpoint on {}; {seen}{within}", retried_on.join(", "))
}

fn limits(told: &TreatmentExplained) -> String {
    let TreatmentExplained { endpoint_requests, pending_requests, pending_time, .. } = told;
    format!(
        "{endpoint_requests} requests at one endpoint; with more, {pending_requests} wait, for {}",
        time(*pending_time)
    )
}
