//! The same objects from a folder and from an API server are the same state.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use lb_agent::model::{Problem, Snapshot, Turn};
use lb_agent::source::kube::{Options, SecretProfile, source};
use lb_agent::source::{Settings, files};
use lb_tests::cluster::{ControlPlane, program};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use super::PATIENCE;
use crate::kinds::create_kinds;

/// Of each kind and each feature some, and of mistakes, too. Without two Ingresses for one path: who came first is
/// known to an API server alone.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: edge-1, labels: {edgelb.dev/edge: "true"}}
status: {addresses: [{type: InternalIP, address: 198.51.100.1}, {type: InternalIP, address: "2001:db8::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: worker-1}
status: {addresses: [{type: InternalIP, address: 198.51.100.2}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: edgelb, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}
spec: {controller: edgelb.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: internal}
spec: {controller: edgelb.dev/ingress, parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: internal}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: example.org/other}
---
apiVersion: edgelb.dev/v1alpha1
kind: IngressParameters
metadata: {name: internal}
spec:
  services: [{namespace: shop, name: internal}]
  defaultCertificate: {namespace: shop, name: tls}
  defaultBackend: {namespace: shop, name: web, port: {name: http}}
---
apiVersion: v1
kind: Service
metadata: {name: public, namespace: shop, annotations: {edgelb.dev/vips: "203.0.113.10,2001:db8:10::10"}}
spec:
  type: LoadBalancer
  loadBalancerClass: edgelb.dev/ingress
  allocateLoadBalancerNodePorts: false
  ports: [{name: http, port: 80}, {name: https, port: 443}]
---
apiVersion: v1
kind: Service
metadata: {name: internal, namespace: shop, annotations: {edgelb.dev/vips: 203.0.113.11}}
spec:
  type: LoadBalancer
  loadBalancerClass: edgelb.dev/ingress
  allocateLoadBalancerNodePorts: false
  ports: [{name: https, port: 8443, appProtocol: https}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80, targetPort: http}, {name: metrics, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: shop}
spec: {type: ExternalName, externalName: example.org, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: metrics, port: 9090}]
endpoints:
- {addresses: [192.0.2.1], conditions: {ready: true}}
- {addresses: [192.0.2.2], conditions: {ready: false}}
- {addresses: [192.0.2.3], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [192.0.2.4]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["2001:db8:2::1"], conditions: {ready: true}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: headless-1, namespace: shop, labels: {kubernetes.io/service-name: headless}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.9], conditions: {ready: true}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec:
  ingressClassName: edgelb
  defaultBackend: {service: {name: web, port: {number: 80}}}
  tls: [{hosts: [shop.example.org, "*.example.org"], secretName: tls}, {hosts: [a.example.org], secretName: absent}]
  rules:
  - host: shop.example.org
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /cart, pathType: Prefix, backend: {service: {name: headless, port: {name: http}}}}
      - {path: /cart, pathType: Exact, backend: {service: {name: empty, port: {number: 80}}}}
      - {path: /old, pathType: ImplementationSpecific, backend: {service: {name: elsewhere, port: {number: 80}}}}
      - {path: /none, pathType: Prefix, backend: {service: {name: nobody, port: {number: 80}}}}
      - {path: /port, pathType: Prefix, backend: {service: {name: web, port: {name: nonsense}}}}
      - {path: /bucket, pathType: Prefix, backend: {resource: {apiGroup: example.org, kind: Bucket, name: a}}}
  - host: "*.example.org"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: metrics}}}}]}
  - http: {paths: [{path: /any, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: internal, namespace: shop}
spec:
  ingressClassName: internal
  rules: [{host: shop.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 9090}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: legacy, namespace: shop, annotations: {kubernetes.io/ingress.class: edgelb}}
spec:
  rules: [{host: legacy.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: not-ours, namespace: shop}
spec:
  ingressClassName: other
  rules: [{host: other.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
"#;

/// Without the generation, and the places in which objects stand.
fn plain(snapshot: &Snapshot) -> (Snapshot, BTreeSet<String>) {
    let problems = snapshot.problems.iter().map(|problem| Problem { origin: None, ..problem.clone() });
    let problems = problems.map(|problem| problem.to_string()).collect();
    (Snapshot { generation: 0, problems: Default::default(), ..snapshot.clone() }, problems)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_and_an_api_server_lead_to_the_same_state() -> Result<()> {
    let control_plane = tokio::task::block_in_place(ControlPlane::start)?;
    let client = control_plane.client().await?;
    create_kinds(&client).await?;
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("shop".to_owned());
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let temporary = TempDir::new()?;
    let folder = temporary.path().join("manifests");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("objects.yaml"), OBJECTS)?;
    let made = rcgen::generate_simple_self_signed(["shop.example.org".to_owned()])?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "tls", "namespace": "shop"},
        "stringData": {"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()},
    });
    std::fs::write(folder.join("secret.json"), secret.to_string())?;
    let output = Command::new(program("kubectl")?)
        .arg("--kubeconfig")
        .arg(control_plane.kubeconfig())
        .args(["apply", "--filename"])
        .arg(&folder)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let settings = Settings::default();
    let expected = files::read(&folder, &settings)?;
    ensure!(expected.members.len() == 1 && expected.listeners.len() == 5, "{expected:?}");
    ensure!(expected.problems.len() >= 5, "{:?}", expected.problems);
    for secrets in [SecretProfile::Cluster, SecretProfile::Named] {
        let (snapshots, mut found) = watch::channel(None);
        let options = Options {
            node: "edge-1".to_owned(),
            namespace: "edgelb-system".to_owned(),
            secrets,
            folder: temporary.path().join("state"),
        };
        let client = client.clone();
        let (source, _handle) =
            source(Box::new(move || Ok(client.clone())), options, settings.clone(), snapshots);
        let running = tokio::spawn(source.run(watch::Sender::new(Turn::Waiting).subscribe()));
        let found = timeout(PATIENCE, found.wait_for(Option::is_some)).await.context("no state")??;
        let found: Arc<Snapshot> = found.clone().context("it waited for one")?;
        compare(&plain(&found), &plain(&expected));
        running.abort();
    }
    Ok(())
}

#[track_caller]
fn compare(found: &(Snapshot, BTreeSet<String>), expected: &(Snapshot, BTreeSet<String>)) {
    assert_eq!(found.1, expected.1);
    assert!(
        found.0 == expected.0,
        "from the API server:\n{:#?}\nfrom the folder:\n{:#?}",
        found.0,
        expected.0
    );
}
