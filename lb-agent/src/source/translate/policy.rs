//! Annotations of a Service -> by which rule its requests are shared out among its endpoints. What is not known is
//! said, and the default stays.

use http::HeaderName;

use crate::model::{HashBy, ObjectRef, Policy, Problem};
use crate::source::{Index, names};

/// The policy that a Service names; a key stands above a rule.
pub(super) fn policy(service: &ObjectRef, index: &Index, problems: &mut Vec<Problem>) -> Policy {
    let Some(annotations) = index.service(service).and_then(|object| object.metadata.annotations.as_ref())
    else {
        return Policy::default();
    };
    let mut read = |key: &str, parse: fn(&str) -> Option<Policy>, known: &str| {
        let value = annotations.get(key)?.trim();
        let policy = parse(value);
        if policy.is_none() {
            let message = format!("{value:?} is none of {known}: it is ignored");
            problems.push(Problem::error(service, format!("metadata.annotations[{key}]"), message));
        }
        policy
    };
    let rule = read(names::LOAD_BALANCE, rule, "peak_ewma, round_robin, least_request");
    let by = "client, uri, header:NAME, cookie:NAME";
    let key = read(names::HASH_BY, |value| hash_by(value).map(Policy::Hash), by);
    key.or(rule).unwrap_or_default()
}

fn rule(value: &str) -> Option<Policy> {
    Some(match value {
        "peak_ewma" => Policy::PeakEwma,
        "round_robin" => Policy::RoundRobin,
        "least_request" => Policy::LeastRequest,
        _ => return None,
    })
}

fn hash_by(value: &str) -> Option<HashBy> {
    match (value, value.split_once(':')) {
        ("client", _) => Some(HashBy::Client),
        ("uri", _) => Some(HashBy::Uri),
        (_, Some(("header", name))) => name.parse::<HeaderName>().ok().map(HashBy::Header),
        // The name of a cookie is a token, as that of a header is (RFC 6265 section 4.1.1), but for its case.
        (_, Some(("cookie", name))) => {
            name.parse::<HeaderName>().ok().map(|_| HashBy::Cookie(name.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::source::translate::fixture::index;

    #[track_caller]
    fn check(annotations: &str, expected: Policy, fields: &[&str]) {
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: b, annotations: {{{annotations}}}}}}}"
        );
        let mut problems = Vec::new();
        let service = ObjectRef::new(Kind::Service, "b", "a");
        assert_eq!(policy(&service, &index(&yaml), &mut problems), expected, "{annotations}");
        let found: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(found, fields, "{annotations}");
    }

    #[test]
    fn each_rule_and_key_has_a_name() {
        check("", Policy::PeakEwma, &[]);
        check("edgelb.dev/load-balance: peak_ewma", Policy::PeakEwma, &[]);
        check("edgelb.dev/load-balance: round_robin", Policy::RoundRobin, &[]);
        check("edgelb.dev/load-balance: ' least_request '", Policy::LeastRequest, &[]);
        let header = HashBy::Header(HeaderName::from_static("x-tenant"));
        for (value, by) in [
            ("client", HashBy::Client),
            ("uri", HashBy::Uri),
            ("header:X-Tenant", header),
            ("cookie:Session", HashBy::Cookie("Session".to_owned())),
        ] {
            check(&format!("edgelb.dev/upstream-hash-by: '{value}'"), Policy::Hash(by), &[]);
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_the_rest_counts() {
        let (rule, key) = (
            "metadata.annotations[edgelb.dev/load-balance]",
            "metadata.annotations[edgelb.dev/upstream-hash-by]",
        );
        check("edgelb.dev/load-balance: ewma", Policy::PeakEwma, &[rule]);
        for value in ["", "header:", "header:a b", "cookie:a=b", "clients", "$request_uri"] {
            let annotations =
                format!("edgelb.dev/upstream-hash-by: '{value}', edgelb.dev/load-balance: round_robin");
            check(&annotations, Policy::RoundRobin, &[key]);
        }
        let both = "edgelb.dev/upstream-hash-by: uri, edgelb.dev/load-balance: round_robin";
        check(both, Policy::Hash(HashBy::Uri), &[]);
    }
}
