//! Annotations -> by which rule requests are shared out among endpoints: ours of a Service, and those of ingress-nginx of
//! an Ingress. What is not known is said, and counts as not there.

use std::collections::BTreeMap;

use http::HeaderName;
use http::header::HOST;

use super::parsed::Parsed;
use super::sticky::cookie;
use super::treatment::unread;
use crate::model::{HashBy, ObjectRef, Policy, Problem};
use crate::source::names;

/// By what requests are shared out with ingress-nginx.
const HASH_BY: &str = "upstream-hash-by";

/// The policy that a Service with these annotations names; a key stands above a rule.
pub(super) fn of_service(
    service: &ObjectRef,
    annotations: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Option<Policy> {
    let mut read = |key: &str, parse: fn(&str) -> Option<Policy>, known: &str| {
        let value = annotations.get(key)?.trim();
        let policy = parse(value);
        if policy.is_none() {
            problems.push(unread(service, key, &format!("{value:?} is none of {known}"), "it is ignored"));
        }
        policy
    };
    let rule = read(names::LOAD_BALANCE, rule, "peak_ewma, round_robin, least_request");
    let by = "client, uri, header:NAME, cookie:NAME";
    let key = read(names::HASH_BY, |value| hash_by(value).map(|by| Policy::Hash([by].into())), by);
    key.or(rule)
}

/// What ingress-nginx would do by annotations, which `read` gives by the end of their names. Those that cannot be read
/// are told to `wrong` with what they should be.
pub(super) fn of_nginx<'a>(
    read: impl Fn(&'static str) -> Option<&'a str>,
    mut wrong: impl FnMut(&'static str, &str),
) -> Option<Policy> {
    // An empty text is none.
    let read = |name| read(name).filter(|text| name != HASH_BY || !text.is_empty());
    let mut parsed = Parsed { read: &read, wrong: &mut wrong };
    let rule = parsed.of("load-balance", rule_of_nginx, "ewma or round_robin");
    let known = "made of $request_uri, $uri, $host, $remote_addr, $http_NAME, $cookie_NAME, $arg_NAME";
    parsed.of(HASH_BY, variables, known).map(Policy::Hash).or(rule)
}

fn rule_of_nginx(value: &str) -> Option<Policy> {
    match value {
        "ewma" => Some(Policy::PeakEwma),
        "round_robin" => Some(Policy::RoundRobin),
        _ => None,
    }
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
        (_, Some(("cookie", name))) => cookie(name).map(HashBy::Cookie),
        _ => None,
    }
}

/// The variables in a text of nginx, `$a` or `${a}`; what stands between them is the same for all requests.
fn variables(text: &str) -> Option<Box<[HashBy]>> {
    let mut found = Vec::new();
    for after in text.split('$').skip(1) {
        let name = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?.0,
            None => {
                let end = after.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                &after[..end.unwrap_or(after.len())]
            }
        };
        found.push(variable(name)?);
    }
    (!found.is_empty()).then(|| found.into())
}

fn variable(name: &str) -> Option<HashBy> {
    Some(match name {
        "request_uri" => HashBy::Uri,
        "uri" | "document_uri" => HashBy::Path,
        "host" | "http_host" => HashBy::Header(HOST),
        "remote_addr" | "binary_remote_addr" | "the_real_ip" => HashBy::Client,
        _ => match name.split_once('_')? {
            ("http", header) => HashBy::Header(header.replace('_', "-").parse().ok()?),
            ("cookie", name) => HashBy::Cookie(cookie(name)?),
            ("arg", name) if !name.is_empty() => HashBy::Parameter(name.to_owned()),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::source::translate::fixture::index;
    use crate::source::translate::treatment::Wishes;

    #[track_caller]
    fn check(annotations: &str, expected: Policy, fields: &[&str]) {
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: b, annotations: {{{annotations}}}}}}}"
        );
        let mut problems = Vec::new();
        let service = ObjectRef::new(Kind::Service, "b", "a");
        let wishes = Wishes::of_service(&service, &index(&yaml), &mut problems);
        assert_eq!(wishes.over(&Wishes::default()).policy, expected, "{annotations}");
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
            check(&format!("edgelb.dev/upstream-hash-by: '{value}'"), Policy::Hash([by].into()), &[]);
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
        check(both, Policy::Hash([HashBy::Uri].into()), &[]);
    }

    #[test]
    fn texts_of_nginx_are_taken_for_their_variables() {
        let header = |name| HashBy::Header(HeaderName::from_static(name));
        let cookie = || HashBy::Cookie("SID".to_owned());
        for (text, expected) in [
            ("$request_uri", vec![HashBy::Uri]),
            ("${request_uri}-text$host", vec![HashBy::Uri, header("host")]),
            ("$http_x_tenant$cookie_SID", vec![header("x-tenant"), cookie()]),
            ("$binary_remote_addr", vec![HashBy::Client]),
            ("$uri?$arg_q", vec![HashBy::Path, HashBy::Parameter("q".to_owned())]),
        ] {
            assert_eq!(variables(text).as_deref(), Some(&expected[..]), "{text}");
        }
        for text in
            ["request_uri", "$", "$request_uri$upstream_addr", "${request_uri", "$http_", "$cookie_", "$arg_"]
        {
            assert_eq!(variables(text), None, "{text}");
        }
        let read = |name| {
            [("load-balance", "round_robin"), ("upstream-hash-by", "$nothing")]
                .iter()
                .find_map(|(key, value)| (*key == name).then_some(*value))
        };
        let mut wrong = Vec::new();
        assert_eq!(of_nginx(read, |name, _| wrong.push(name)), Some(Policy::RoundRobin));
        assert_eq!(wrong, ["upstream-hash-by"]);
    }
}
