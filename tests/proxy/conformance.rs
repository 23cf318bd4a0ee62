//! The scenarios of the ingress-controller-conformance project (`features/*.feature`, release 1.19), as tables.

use super::support::{Asked, Http, Site, all_schemes, connect_tls, request, shown, tls_secret};

/// An Ingress without a class whose rules are `host | pathType path service`, one a line. Ports are 8080.
fn ingress(name: &str, spec: &str, rules: &str) -> String {
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  rules:\n"
    );
    for line in rules.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [host, kind, path, service] = words[..] else { panic!("{line}") };
        text += &format!(
            "  - host: '{host}'\n    http: {{paths: [{{path: {path}, pathType: {kind}, backend: {{service: \
             {{name: {service}, port: {{number: 8080}}}}}}}}]}}\n"
        );
    }
    text
}

#[tokio::test]
async fn path_rules() {
    let documents = ingress(
        "path-rules",
        "",
        "exact-path-rules          Exact   /foo       foo-exact
         prefix-path-rules         Prefix  /foo       foo-prefix
         prefix-path-rules         Prefix  /aaa/bbb   aaa-slash-bbb-prefix
         prefix-path-rules         Prefix  /aaa       aaa-prefix
         mixed-path-rules          Prefix  /foo       foo-prefix
         mixed-path-rules          Exact   /foo       foo-exact
         trailing-slash-path-rules Prefix  /aaa/bbb/  aaa-slash-bbb-slash-prefix
         trailing-slash-path-rules Exact   /foo/      foo-slash-exact",
    );
    let names = [
        "foo-exact",
        "foo-prefix",
        "aaa-slash-bbb-prefix",
        "aaa-prefix",
        "aaa-slash-bbb-slash-prefix",
        "foo-slash-exact",
    ];
    let site = Site::start(&documents, &names.map(|name| (name, &["8080"][..], 1))).await;
    assert_eq!(site.problems, [""; 0]);
    for (host, path, expected) in [
        ("exact-path-rules", "/foo", Ok("foo-exact")),
        ("exact-path-rules", "/foo/", Err(404)),
        ("exact-path-rules", "/FOO", Err(404)),
        ("exact-path-rules", "/bar", Err(404)),
        ("prefix-path-rules", "/foo", Ok("foo-prefix")),
        ("prefix-path-rules", "/foo/", Ok("foo-prefix")),
        ("prefix-path-rules", "/FOO", Err(404)),
        ("prefix-path-rules", "/aaa/bbb", Ok("aaa-slash-bbb-prefix")),
        ("prefix-path-rules", "/aaa/bbb/ccc", Ok("aaa-slash-bbb-prefix")),
        ("prefix-path-rules", "/aaa/ccc", Ok("aaa-prefix")),
        ("prefix-path-rules", "/aaaccc", Err(404)),
        // Not among theirs, but the element before it decides.
        ("prefix-path-rules", "/aaa/bbbccc", Ok("aaa-prefix")),
        ("mixed-path-rules", "/foo", Ok("foo-exact")),
        ("mixed-path-rules", "/foo/", Ok("foo-prefix")),
        ("trailing-slash-path-rules", "/aaa/bbb", Ok("aaa-slash-bbb-slash-prefix")),
        ("trailing-slash-path-rules", "/aaa/bbb/", Ok("aaa-slash-bbb-slash-prefix")),
        ("trailing-slash-path-rules", "/foo", Err(404)),
        ("trailing-slash-path-rules", "/foo/", Ok("foo-slash-exact")),
    ] {
        site.check(host, path, expected).await;
    }
}

#[tokio::test]
async fn host_rules() {
    let (secret, certificate) = tls_secret("conformance-tls", "foo.bar.com");
    let tls = "tls: [{hosts: [foo.bar.com], secretName: conformance-tls}]";
    // One of the two names the Service's port by its name.
    let named = "backend: {service: {name: foo-bar-com, port: {name: http}}}";
    let numbered = "backend: {service: {name: foo-bar-com, port: {number: 8080}}}";
    let rules = "*.foo.com Prefix / wildcard-foo-com\nfoo.bar.com Prefix / foo-bar-com";
    let documents = ingress("host-rules", tls, rules).replace(numbered, named) + "---\n" + &secret;
    assert!(documents.contains(named));
    let services = [("wildcard-foo-com", &["http:8080"][..], 1), ("foo-bar-com", &["http:8080"][..], 1)];
    let site = Site::start(&documents, &services).await;
    assert_eq!(site.problems, [""; 0]);
    for (host, expected) in [
        ("foo.bar.com", Ok("foo-bar-com")),
        ("subdomain.bar.com", Err(404)),
        ("bar.foo.com", Ok("wildcard-foo-com")),
        ("baz.bar.foo.com", Err(404)),
        ("foo.com", Err(404)),
    ] {
        site.check(host, "/", expected).await;
    }
    let secure = connect_tls(site.https(), "foo.bar.com", &[], all_schemes()).await;
    assert_eq!(shown(&secure), certificate);
    let answer = Http::one_over(secure).await.send(request("foo.bar.com", "/")).await;
    let asked = Site::told(answer).expect("a backend answers");
    assert_eq!((asked.service.as_str(), asked.host.as_str()), ("foo-bar-com", "foo.bar.com"));
}

const DEFAULT_BACKEND: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: default-backend}
spec: {defaultBackend: {service: {name: echo-service, port: {number: 8080}}}}
";

#[tokio::test]
async fn default_backend() {
    let site = Site::start(DEFAULT_BACKEND, &[("echo-service", &["8080"], 1)]).await;
    assert_eq!(site.problems, [""; 0]);
    // A client without a host to name names the address that it connects to.
    let address = site.http().to_string();
    for (method, host, path) in [
        ("GET", "my-host", "/"),
        ("GET", "my-host", "/sub-path"),
        ("POST", "some-host", "/"),
        ("PUT", address.as_str(), "/resource"),
        ("DELETE", "some-host", "/resource"),
        ("PATCH", "my-host", "/resource"),
    ] {
        let [service, method, host, path] = ["echo-service", method, host, path].map(str::to_owned);
        let expected = Asked { service, method: method.clone(), host: host.clone(), path: path.clone() };
        assert_eq!(site.ask(&method, &host, &path).await, Ok(expected));
    }
}

#[tokio::test]
async fn ingress_class() {
    let documents = ingress(
        "test-ingress-class",
        "ingressClassName: some-invalid-class-name",
        "ingress-class Prefix / ingress-class-prefix",
    );
    let site = Site::start(&documents, &[("ingress-class-prefix", &["8080"], 1)]).await;
    assert_eq!(
        site.problems,
        ["warning: Ingress default/test-ingress-class: spec.ingressClassName: there is no IngressClass \
          \"some-invalid-class-name\": nobody serves this Ingress"]
    );
    site.check("ingress-class", "/", Err(404)).await;
}

#[tokio::test]
async fn load_balancing() {
    let site = Site::start(DEFAULT_BACKEND, &[("echo-service", &["8080"], 10)]).await;
    for _ in 0..100 {
        site.check("load-balancing", "/", Ok("echo-service")).await;
    }
    let requests = site.requests();
    assert!(requests.len() == 10 && requests.iter().all(|&requests| requests > 0), "{requests:?}");
}
