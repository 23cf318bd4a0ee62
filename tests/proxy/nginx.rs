//! Objects as ingress-nginx' own end-to-end tests apply them. None may be misread; what ingress-nginx would do and we do
//! not is said.

use super::support::Site;

/// Services that the objects name.
const SERVICES: [(&str, &[&str], usize); 3] =
    [("echo", &["80"], 1), ("other", &["80"], 1), ("idle", &["80"], 0)];

async fn site(documents: &str, problems: &[&str]) -> Site {
    let site = Site::start(documents, &SERVICES).await;
    assert_eq!(site.problems, problems);
    site
}

/// An Ingress with one path, `Prefix` as theirs are unless they say otherwise.
fn single(name: &str, annotations: &str, host: &str, path: &str, service: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
         spec: {{rules: [{{host: '{host}', http: {{paths: [{{path: '{path}', pathType: Prefix, backend: {{service: {{name: \
         {service}, port: {{number: 80}}}}}}}}]}}}}]}}\n"
    )
}

/// An annotation of theirs.
fn of_nginx(name: &str, value: &str) -> String {
    format!("nginx.ingress.kubernetes.io/{name}: '{value}'")
}

fn unread(ingress: &str, names: &str) -> String {
    format!(
        "warning: Ingress default/{ingress}: metadata.annotations: not read, and requests are served without: \
         ingress-nginx' {names}"
    )
}

#[tokio::test]
async fn several_hosts_in_one_ingress() {
    let snippet =
        of_nginx("configuration-snippet", "more_set_input_headers \"service-name: $service_name\";");
    let second = "{host: second.host, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: other, port: \
                  {number: 80}}}}]}}";
    let text = single("simh", &snippet, "first.host", "/", "echo")
        .replace("rules: [", &format!("rules: [{second}, "));
    let site = site(&text, &[&unread("simh", "configuration-snippet")]).await;
    site.check("first.host", "/exact", Ok("echo")).await;
    site.check("second.host", "/exact", Ok("other")).await;
}

#[tokio::test]
async fn an_ingress_without_a_host() {
    let site = site(&single("default-host", "", "", "/", "echo"), &[]).await;
    site.check("any.example", "/", Ok("echo")).await;
}

/// Nothing becomes configuration: such a path matches no request, and its host's other paths are served.
#[tokio::test]
async fn a_path_that_is_nginx_configuration() {
    let inside = "/bla{alias /var/run/secrets/;}location ~* ^/abcd";
    let text = single("invalidregex", "", "inspection.example", inside, "echo")
        + &single("valid", "", "inspection.example", "/xpto", "echo");
    let problem = format!(
        "error: Ingress default/invalidregex: spec.rules[0].http.paths[0].path: {inside:?} contains \" \", which no path \
         of a rule may: the path is ignored"
    );
    let site = site(&text, &[&problem]).await;
    site.check("inspection.example", "/xpto", Ok("echo")).await;
    site.check("inspection.example", "/bla", Err(404)).await;
    site.check("inspection.example", "/abcd/", Err(404)).await;
}

/// A path that is rewritten there arrives here as it was sent: whoever comes from there hears of it.
#[tokio::test]
async fn a_rewritten_path() {
    let rewrite =
        [of_nginx("rewrite-target", "/new/backend"), of_nginx("enable-rewrite-log", "true")].join(", ");
    let text = single("kube-lego", "", "rewrite.example", "/.well-known/acme/challenge", "other")
        + &single("rewrite-index", &rewrite, "rewrite.example", "/", "echo");
    let site = site(&text, &[&unread("rewrite-index", "enable-rewrite-log, rewrite-target")]).await;
    site.check("rewrite.example", "/.well-known/acme/challenge", Ok("other")).await;
    site.check("rewrite.example", "/something", Ok("echo")).await;
}

/// Each is served as it stands without the annotation, and says so.
#[tokio::test]
async fn annotations_that_change_what_a_request_meets() {
    for (name, value) in [
        ("server-alias", "bar.example"),
        ("from-to-www-redirect", "true"),
        ("force-ssl-redirect", "true"),
        ("app-root", "/foo"),
        ("permanent-redirect", "http://elsewhere.example"),
        ("upstream-vhost", "upstream.example"),
        ("default-backend", "other"),
        ("affinity-canary-behavior", "legacy"),
        ("limit-connections", "8"),
        ("ssl-passthrough", "true"),
    ] {
        let text = single("web", &of_nginx(name, value), "foo.example", "/", "echo");
        let site = site(&text, &[&unread("web", name)]).await;
        site.check("foo.example", "/", Ok("echo")).await;
        site.check("bar.example", "/", Err(404)).await;
    }
}

/// Who only some may reach is reached by nobody, rather than by everybody.
#[tokio::test]
async fn annotations_that_guard() {
    for (name, value) in [
        ("whitelist-source-range", "18.0.0.0/8, 56.0.0.1"),
        ("denylist-source-range", "18.0.0.0/8"),
        ("auth-type", "basic"),
        ("auth-url", "http://auth.example/basic-auth/user/password"),
        ("auth-tls-secret", "default/auth"),
    ] {
        let text = single("guarded", &of_nginx(name, value), "auth.example", "/", "echo");
        let problem = format!(
            "error: Ingress default/guarded: metadata.annotations.nginx.ingress.kubernetes.io/{name}: not supported yet: \
             this Ingress is left out, for it would be open to everybody"
        );
        site(&text, &[&problem]).await.check("auth.example", "/", Err(404)).await;
    }
}

#[tokio::test]
async fn services_without_a_pod_and_services_that_are_not_there() {
    let elsewhere = "---\n{apiVersion: v1, kind: Service, metadata: {name: elsewhere}, spec: {type: ExternalName, \
                     externalName: httpbin.example, ports: [{port: 80}]}}\n";
    let text = single("no-pods", "", "idle.example", "/", "idle")
        + &single("no-service", "", "absent.example", "/", "absent")
        + &single("external", "", "external.example", "/", "elsewhere")
        + elsewhere;
    let site = Site::start(&text, &SERVICES).await;
    let at = "spec.rules[0].http.paths[0].backend.service";
    for (ingress, field) in [("external", at), ("no-service", at)] {
        let start = format!("error: Ingress default/{ingress}: {field}");
        assert!(site.problems.iter().any(|problem| problem.starts_with(&start)), "{:?}", site.problems);
    }
    for host in ["idle.example", "absent.example", "external.example"] {
        site.check(host, "/", Err(503)).await;
    }
}

/// The longest that a name of a Service may be, which its EndpointSlices' names are made of.
#[tokio::test]
async fn a_service_with_a_long_name() {
    const NAME: &str = "long-name-foobar-foobar-foobar-foobar-foobar-bar-foo-bar-foobuz";
    let text = single("long-name", "", "longsvcname.example", "/", NAME);
    let site = Site::start(&text, &[(NAME, &["80"], 1)]).await;
    assert_eq!((NAME.len(), &site.problems[..]), (63, &[][..]));
    site.check("longsvcname.example", "/", Ok(NAME)).await;
}

/// Four Ingresses that share a host.
#[tokio::test]
async fn exact_and_prefix_from_several_ingresses() {
    let one = |name: &str, path: &str, kind: &str, service: &str| {
        single(name, "", "mixed.path", path, service)
            .replace("pathType: Prefix", &format!("pathType: {kind}"))
    };
    let documents = one("exact-root", "/", "Exact", "exact-root")
        + &one("prefix-root", "/", "Prefix", "prefix-root")
        + &one("exact-foo", "/foo", "Exact", "exact-foo")
        + &one("prefix-foo", "/foo", "Prefix", "prefix-foo");
    let services =
        ["exact-root", "prefix-root", "exact-foo", "prefix-foo"].map(|name| (name, &["80"][..], 1));
    let site = Site::start(&documents, &services).await;
    assert_eq!(site.problems, [""; 0]);
    for (path, service) in [
        ("/", "exact-root"),
        ("/bar", "prefix-root"),
        ("/foo", "exact-foo"),
        ("/foo/bar", "prefix-foo"),
        ("/foobar", "prefix-root"),
    ] {
        site.check("mixed.path", path, Ok(service)).await;
    }
}

/// First by name, it would take all of the requests.
#[tokio::test]
async fn a_canary_takes_nothing() {
    let one = |name: &str, annotations: &str, service: &str| {
        single(name, annotations, "canary.example", "/", service)
    };
    let canary = [of_nginx("canary", "true"), of_nginx("canary-weight", "40")].join(", ");
    let text = one("a-canary", &canary, "other") + &one("production", "", "echo");
    let problem = "error: Ingress default/a-canary: metadata.annotations.nginx.ingress.kubernetes.io/canary: canaries of \
                   ingress-nginx are not supported: this Ingress is left out";
    let site = site(&text, &[problem]).await;
    for _ in 0..8 {
        site.check("canary.example", "/", Ok("echo")).await;
    }
}

/// Rules without paths: the host's requests go to the default backend.
#[tokio::test]
async fn a_host_with_a_default_backend_only() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: backend}
spec:
  ingressClassName: edgelb
  defaultBackend: {service: {name: echo, port: {number: 80}}}
  rules: [{host: only-backend}]
";
    let site = site(text, &[]).await;
    site.check("only-backend", "/", Ok("echo")).await;
    site.check("other", "/", Err(404)).await;
}

/// The backends here speak HTTP/1.1 in the clear.
#[tokio::test]
async fn endpoints_are_spoken_to_as_the_annotation_says() {
    let wrong = "error: Ingress default/fcgi: metadata.annotations[nginx.ingress.kubernetes.io/backend-protocol]: \
                 \"FCGI\" is none of HTTP, HTTPS, GRPC, GRPCS, H2C, H2: requests get 500";
    let spoken = |name: &str, value| {
        single(name, &of_nginx("backend-protocol", value), &format!("{name}.example"), "/", "echo")
    };
    let text = spoken("http", "HTTP")
        + &spoken("https", "HTTPS")
        + &spoken("grpc", "GRPC")
        + &spoken("fcgi", "FCGI");
    let site = site(&text, &[wrong]).await;
    site.check("http.example", "/", Ok("echo")).await;
    site.check("https.example", "/", Err(502)).await;
    site.check("grpc.example", "/", Err(502)).await;
    site.check("fcgi.example", "/", Err(500)).await;
}
