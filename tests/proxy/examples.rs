//! Objects from elsewhere: the examples of the Kubernetes documentation on Ingress. None may be misread; what is not
//! supported is said.

use super::support::{Http, Site, all_schemes, connect_tls, request, shown, tls_secret};

/// Services that the examples name.
const SERVICES: [(&str, &[&str], usize); 3] =
    [("test", &["80"], 1), ("service1", &["80", "4200"], 1), ("service2", &["80", "8080"], 1)];

async fn site(documents: &str, problems: &[&str]) -> Site {
    let services = SERVICES.map(|(name, ports, pods)| (name, ports, pods));
    let site = Site::start(documents, &services).await;
    assert_eq!(site.problems, problems);
    site
}

#[tokio::test]
async fn the_minimal_ingress_names_somebody_elses_class() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: minimal-ingress}
spec:
  ingressClassName: nginx-example
  rules: [{http: {paths: [{path: /testpath, pathType: Prefix, backend: {service: {name: test, port: {number: 80}}}}]}}]
";
    let nobody = "warning: Ingress default/minimal-ingress: spec.ingressClassName: there is no IngressClass \
                  \"nginx-example\": nobody serves this Ingress";
    site(text, &[nobody]).await.check("any.example", "/testpath", Err(404)).await;
    let site = site(&text.replace("nginx-example", "edgelb"), &[]).await;
    site.check("any.example", "/testpath/x", Ok("test")).await;
    site.check("any.example", "/other", Err(404)).await;
}

#[tokio::test]
async fn a_default_backend_alone() {
    let text = "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: test-ingress},
        spec: {defaultBackend: {service: {name: test, port: {number: 80}}}}}";
    site(text, &[]).await.check("any.example", "/any", Ok("test")).await;
}

#[tokio::test]
async fn a_simple_fanout() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: simple-fanout-example}
spec:
  rules:
  - host: foo.bar.com
    http:
      paths:
      - {path: /foo, pathType: Prefix, backend: {service: {name: service1, port: {number: 4200}}}}
      - {path: /bar, pathType: Prefix, backend: {service: {name: service2, port: {number: 8080}}}}
";
    let site = site(text, &[]).await;
    site.check("foo.bar.com", "/foo", Ok("service1")).await;
    site.check("foo.bar.com", "/bar", Ok("service2")).await;
    site.check("foo.bar.com", "/", Err(404)).await;
    site.check("bar.bar.com", "/foo", Err(404)).await;
}

#[tokio::test]
async fn virtual_hosts_by_name() {
    let rule = |host: &str, service: &str| {
        format!(
            "- {host}http: {{paths: [{{pathType: Prefix, path: /, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}\n  "
        )
    };
    let text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: virtual-hosts}\nspec:\n  rules:\n  "
        .to_owned()
        + &rule("host: first.bar.com\n    ", "service1")
        + &rule("host: second.bar.com\n    ", "service2");
    let two = site(&text, &[]).await;
    two.check("first.bar.com", "/", Ok("service1")).await;
    two.check("second.bar.com", "/", Ok("service2")).await;
    two.check("third.bar.com", "/", Err(404)).await;
    let with_any = site(&(text + &rule("", "test")), &[]).await;
    with_any.check("first.bar.com", "/", Ok("service1")).await;
    with_any.check("third.bar.com", "/", Ok("test")).await;
}

#[tokio::test]
async fn a_wildcard_host() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress-wildcard-host}
spec:
  rules:
  - {host: foo.bar.com, http: {paths: [{pathType: Prefix, path: /bar, backend: {service: {name: service1, port: {number: 80}}}}]}}
  - {host: '*.foo.com', http: {paths: [{pathType: Prefix, path: /foo, backend: {service: {name: service2, port: {number: 80}}}}]}}
";
    let site = site(text, &[]).await;
    site.check("foo.bar.com", "/bar", Ok("service1")).await;
    site.check("bar.foo.com", "/foo", Ok("service2")).await;
    site.check("baz.bar.foo.com", "/foo", Err(404)).await;
    site.check("foo.com", "/foo", Err(404)).await;
}

#[tokio::test]
async fn tls_for_a_host() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: tls-example-ingress}
spec:
  tls: [{hosts: [https-example.foo.com], secretName: testsecret-tls}]
  rules: [{host: https-example.foo.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: service1, port: {number: 80}}}}]}}]
---
";
    let missing = "error: Ingress default/tls-example-ingress: spec.tls[0].secretName: Secret default/testsecret-tls \
                   does not exist";
    site(text, &[missing]).await.check("https-example.foo.com", "/", Ok("service1")).await;
    let (secret, certificate) = tls_secret("testsecret-tls", "https-example.foo.com");
    let site = site(&(text.to_owned() + &secret), &[]).await;
    let secure = connect_tls(site.https(), "https-example.foo.com", &[], all_schemes()).await;
    assert_eq!(shown(&secure), certificate);
    let answer = Http::one_over(secure).await.send(request("https-example.foo.com", "/")).await;
    assert_eq!(Site::told(answer).expect("a backend answers").service, "service1");
}

#[tokio::test]
async fn resource_backends_are_refused_aloud() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress-resource-backend}
spec:
  defaultBackend: {resource: {apiGroup: k8s.example.com, kind: StorageBucket, name: static-assets}}
  rules:
  - http: {paths: [{path: /icons, pathType: ImplementationSpecific, backend: {resource: {apiGroup: k8s.example.com, kind: StorageBucket, name: icon-assets}}}]}
";
    let problem = |field: &str, name: &str| {
        format!(
            "error: Ingress default/ingress-resource-backend: {field}: resource backends are not supported \
             (StorageBucket/{name}): its requests get 500"
        )
    };
    let problems = [
        problem("spec.defaultBackend", "static-assets"),
        problem("spec.rules[0].http.paths[0].backend", "icon-assets"),
    ];
    let site = site(text, &problems.each_ref().map(String::as_str)).await;
    site.check("any.example", "/icons/a", Err(500)).await;
    site.check("any.example", "/else", Err(500)).await;
}

#[tokio::test]
async fn classes_of_others_are_theirs() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: external-lb}
spec:
  controller: example.com/ingress-controller
  parameters: {apiGroup: k8s.example.com, kind: IngressParameters, name: external-lb, namespace: external-configuration, scope: Namespace}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs}
spec: {ingressClassName: external-lb, defaultBackend: {service: {name: test, port: {number: 80}}}}
";
    site(text, &[]).await.check("any.example", "/", Err(404)).await;
}

#[tokio::test]
async fn versions_that_no_server_has_any_more() {
    let rules = "rules: [{host: hello-world.info, http: {paths: [{path: /, pathType: Prefix, backend: {service: \
                 {name: test, port: {number: 80}}}}]}}]";
    for version in ["networking.k8s.io/v1beta1", "extensions/v1beta1"] {
        let text =
            format!("apiVersion: {version}\nkind: Ingress\nmetadata: {{name: old}}\nspec: {{{rules}}}\n");
        let problem = format!(
            "error: Ingress default/old: apiVersion: {version} is not read: write networking.k8s.io/v1"
        );
        site(&text, &[&problem]).await.check("hello-world.info", "/", Err(404)).await;
    }
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let text = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gaps}
spec:
  rules:
  - host: a.example
    http:
      paths:
      - {path: /, backend: {service: {name: test, port: {number: 80}}}}
      - {pathType: Prefix, backend: {service: {name: test, port: {number: 80}}}}
      - {path: /ok, pathType: Prefix, backend: {service: {name: test, port: {number: 80}}}}
";
    let at = "error: Ingress default/gaps: spec.rules[0].http.paths";
    let problems = [
        format!(
            "{at}[0].pathType: is missing: write Exact, Prefix or ImplementationSpecific; the path is ignored"
        ),
        format!("{at}[1].path: is missing: write one that starts with /; the path is ignored"),
    ];
    let site = site(text, &problems.each_ref().map(String::as_str)).await;
    site.check("a.example", "/ok", Ok("test")).await;
    site.check("a.example", "/", Err(404)).await;
}
