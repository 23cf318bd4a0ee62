//! Requests through a table by hand.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{
    BackendId, BackendPort, BackendProtocol, Cause, DefaultBackend, HostRoutes, Kind, PathKind, Problem,
    Problems, Rule, SecretBytes, Treatment, Unavailable, contested_path,
};

fn backend(service: &str, ports: &[u16]) -> Arc<Backend> {
    let id = BackendId { namespace: "shop".into(), service: service.into(), port: BackendPort::Number(80) };
    let address = |port: &u16| SocketAddr::from(([10, 0, 0, 1], *port));
    let endpoints: Vec<_> = ports.iter().map(address).collect();
    let endpoints = if endpoints.is_empty() { Err(Unavailable::NoEndpoint) } else { Ok(endpoints) };
    Arc::new(Backend { id, protocol: BackendProtocol::default(), treatment: Treatment::default(), endpoints })
}

fn ingress(name: &str) -> Arc<ObjectRef> {
    Arc::new(ObjectRef::new(Kind::Ingress, "shop", name))
}

type Rules<'a> = &'a [(PathKind, &'a str, &'a str, &'a [u16])];

fn host(rules: Rules<'_>, default: Option<&str>) -> Arc<HostRoutes> {
    let rule = |(kind, path, service, ports): &(PathKind, &str, &str, &[u16])| Rule {
        path: PathRule::new(*kind, path).expect("a path"),
        backend: backend(service, ports),
        ingress: ingress("web"),
    };
    let mut rules: Vec<_> = rules.iter().map(rule).collect();
    rules.sort_by(|one, other| one.path.cmp(&other.path));
    let default_backend =
        default.map(|name| DefaultBackend { backend: backend(name, &[7]), object: ingress("fallback") });
    Arc::new(HostRoutes { rules, default_backend })
}

fn certificate(name: &str) -> Arc<[Arc<Certificate>]> {
    Arc::from([Arc::new(Certificate {
        secret: ObjectRef::new(Kind::Secret, "shop", name),
        chain: Arc::default(),
        key: SecretBytes::from(Vec::new()),
        staple: None,
        key_kind: KeyKind::Ecdsa,
        dns_names: vec!["a.org".to_owned()],
        not_before: 0,
        not_after: 1_800_000_000,
    })])
}

fn snapshot(certificates: &[(&str, &str)]) -> Snapshot {
    use PathKind::{Exact, Prefix};
    let pattern = |host: &str| HostPattern::parse(host).expect("a host");
    let hosts = [
        (
            pattern("a.org"),
            host(&[(Prefix, "/", "web", &[1, 2]), (Exact, "/cart", "cart", &[3])], Some("own")),
        ),
        (pattern("b.org"), host(&[(Exact, "/x", "gone", &[]), (Prefix, "/a/b", "deep", &[4])], None)),
        (pattern("*.org"), host(&[(Prefix, "/", "wild", &[5])], None)),
    ];
    let certificates = certificates.iter().map(|(host, secret)| (pattern(host), certificate(secret)));
    let routes = Arc::new(RouteTable {
        hosts: hosts.into_iter().collect(),
        default_backend: Some(DefaultBackend { backend: backend("all", &[6]), object: ingress("all") }),
        certificates: certificates.collect(),
        tls: TlsPolicy::default(),
    });
    let listener = |protocol| Listener {
        object: ObjectRef::new(Kind::Service, "edge", "vip"),
        protocol,
        classes: BTreeSet::from(["edgelb".to_owned()]),
        routes: routes.clone(),
    };
    let at = |last, port| SocketAddr::from(([203, 0, 113, last], port));
    let listeners = BTreeMap::from([
        (at(10, 80), listener(ListenerProtocol::Http)),
        (at(11, 80), listener(ListenerProtocol::Http)),
        (at(10, 443), listener(ListenerProtocol::Https)),
    ]);
    let taken = contested_path(&PathRule::new(Exact, "/cart").expect("a path"), &pattern("a.org"));
    let lost = format!("{taken} belongs to Ingress shop/web, which is older");
    let lost = Problem::error(&ingress("late"), "spec.rules[0]", lost).because(Cause::Conflict);
    Snapshot { generation: 9, listeners, problems: Problems::from_iter([lost]), ..Snapshot::default() }
}

fn asked(host: &str, path: &str) -> RequestAsked {
    RequestAsked {
        host: host.to_owned(),
        path: path.to_owned(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        sni: None,
        from: Some([192, 0, 2, 7].into()),
        to: Some(([203, 0, 113, 10], 443).into()),
    }
}

/// By the usual settings.
fn usual(snapshot: &Snapshot, request: &RequestAsked) -> Result<RequestExplained, NoRequest> {
    explain(snapshot, request, (&Trust::default(), &Limits::default()))
}

fn told(request: &RequestAsked) -> ListenerExplained {
    let explained = usual(&snapshot(&[]), request).expect("a request");
    explained.listeners.into_iter().next().expect("a listener")
}

#[test]
fn the_route_that_wins_is_told_with_those_that_lose() {
    use RouteReason::{
        HostDefault, LessSpecificHost, LessSpecificPath, ListenerDefault, NotNeeded, OtherPath, Rule, Younger,
    };
    for (host, path, winner, service, losers) in [
        (
            "A.org:443",
            "/cart",
            Rule,
            "cart",
            &[Younger, LessSpecificPath, NotNeeded, LessSpecificHost, NotNeeded][..],
        ),
        ("a.org", "/cart/", Rule, "web", &[NotNeeded, LessSpecificHost, NotNeeded]),
        (
            "a.org",
            "/%63art",
            Rule,
            "cart",
            &[Younger, LessSpecificPath, NotNeeded, LessSpecificHost, NotNeeded],
        ),
        ("c.org", "/cart", Rule, "wild", &[NotNeeded]),
        ("b.org", "/y", ListenerDefault, "all", &[OtherPath, OtherPath, LessSpecificHost]),
        ("c.com", "/", ListenerDefault, "all", &[]),
    ] {
        let told = told(&asked(host, path));
        let won = told.winner.as_ref().map(|winner| winner.why);
        assert_eq!(won, Some(winner), "{host} {path}");
        let backend = told.backend.as_ref().map(|backend| backend.service.as_str());
        assert_eq!(backend, Some(&*format!("shop/{service}:80")), "{host} {path}");
        let reasons: Vec<_> = told.losers.iter().map(|loser| loser.why).collect();
        assert_eq!(reasons, losers, "{host} {path}");
        assert_ne!(winner, HostDefault);
    }
}

#[test]
fn what_the_proxy_answers_by_itself_is_told() {
    for (host, path, method, reason) in [
        ("a.org", "/../x", "GET", "bad_path"),
        ("a.org/x", "/", "GET", "bad_host"),
        ("a.org", "/", "CONNECT", "connect_refused"),
        ("a.org", "/x%2f..%2fcart", "GET", "bad_path"),
        ("b.org", "/a%2Fb", "GET", "ambiguous_path"),
        ("b.org", "/x", "GET", "unavailable"),
    ] {
        let told = told(&RequestAsked { method: method.to_owned(), ..asked(host, path) });
        assert_eq!(told.reply.map(|reply| reply.reason).as_deref(), Some(reason), "{host} {path}");
        assert_eq!(told.forwarded, [""; 0]);
    }
    let error = usual(&snapshot(&[]), &asked("a.org", "x y"));
    assert!(error.is_err_and(|error| error.to_string().contains("no HTTP request")));
}

#[test]
fn an_absolute_target_is_not_passed_on() {
    let told = told(&asked("a.org", "http://a.org/a?q"));
    assert_eq!(told.forwarded[0], "GET /a?q HTTP/1.1");
}

#[test]
fn what_the_endpoint_gets_is_told() {
    let headers = vec![("x_real_ip".to_owned(), "1".to_owned()), ("keep-alive".to_owned(), "1".to_owned())];
    let told = told(&RequestAsked { headers, ..asked("a.org", "/%61?q") });
    assert_eq!(told.forwarded[0], "GET /a?q HTTP/1.1");
    let mut headers = told.forwarded[1..].to_vec();
    headers.sort();
    let expected = [
        "host: a.org",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: a.org",
        "x-forwarded-port: 443",
        "x-forwarded-proto: https",
        "x-real-ip: 192.0.2.7",
    ];
    assert_eq!(headers, expected);
}

#[test]
fn the_certificate_is_told_with_why() {
    use CertificateReason::{Default, Exact, SelfSigned, Wildcard};
    let all = [("a.org", "own"), ("*.org", "wild"), ("", "default")];
    for (certificates, host, sni, why, secret, covers) in [
        (&all[..], "a.org", None, Exact, Some("own"), true),
        (&all[1..], "a.org", None, Wildcard, Some("wild"), true),
        (&all[2..], "b.org", None, Default, Some("default"), false),
        (&all[..], "a.org", Some("x.com"), Default, Some("default"), false),
        (&all[..2], "a.org", Some(""), SelfSigned, None, false),
    ] {
        let request = RequestAsked { sni: sni.map(str::to_owned), ..asked(host, "/") };
        let explained = usual(&snapshot(certificates), &request).expect("a request");
        let found = explained.listeners[0].certificate.as_ref().expect("TLS");
        assert_eq!(found.why, why, "{host} {sni:?}");
        let offered = found.offered.first();
        let secret = secret.map(|secret| format!("Secret shop/{secret}"));
        assert_eq!(offered.map(|offered| offered.secret.clone()), secret);
        assert_eq!(offered.is_some_and(|offered| offered.covers), covers, "{host} {sni:?}");
    }
}

#[test]
fn listeners_that_cannot_differ_stand_together() {
    let explained = usual(&snapshot(&[]), &RequestAsked { to: None, ..asked("a.org", "/") });
    let listeners = explained.expect("a request").listeners;
    let told: Vec<_> =
        listeners.iter().map(|told| (told.addresses.len(), told.certificate.is_some())).collect();
    assert_eq!(told, [(2, false), (1, true)]);
    assert_eq!(listeners[0].objects, ["Service edge/vip"]);
    let nowhere = RequestAsked { to: Some(([203, 0, 113, 99], 80).into()), ..asked("a.org", "/") };
    let explained = usual(&snapshot(&[]), &nowhere).expect("a request");
    assert!(explained.listeners.is_empty());
}
