//! What `deploy` ships, as the API server understands it: all components at once, and by the conventions.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::shipped::{DEMO, Shipped};

/// More than anybody has; each must bear the others.
const EVERYTHING: &str = "\
resources: [../overlays/bare-metal, ../overlays/demo/app, ../uninstall]
components: [../components/named-secrets, ../components/host-ports, ../components/pod-monitor]
";

/// The Prometheus operator's kind, without its schema.
const POD_MONITORS: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "podmonitors.monitoring.coreos.com"},
  "spec": {
    "group": "monitoring.coreos.com", "scope": "Namespaced",
    "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"},
    "versions": [{
      "name": "v1", "served": true, "storage": true,
      "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
    }]
  }
}"#;

#[test]
fn everything_at_once_is_taken_strictly_and_by_the_conventions() -> Result<()> {
    let shipped = Shipped::start()?;
    let kinds = shipped.folder.path().join("pod-monitors.json");
    std::fs::write(&kinds, POD_MONITORS)?;
    shipped.apply("--filename", &kinds)?;
    let served = ["wait", "--for=condition=established", "--timeout=60s"];
    shipped
        .kubectl(&[&served[..], &["customresourcedefinition/podmonitors.monitoring.coreos.com"]].concat())?;
    shipped.apply_own(EVERYTHING)?;
    let objects = shipped.own_objects()?;
    ensure!(objects.len() > 20, "{} objects", objects.len());
    for object in objects.iter().filter(|object| !is_of_the_demo(object)) {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        is_labelled(&object["metadata"]).with_context(|| name.clone())?;
        if let template @ Value::Object(_) = &object["spec"]["template"] {
            is_labelled(&template["metadata"]).with_context(|| name.clone())?;
            is_careful(&template["spec"]).context(name)?;
        }
    }
    is_the_agent(&daemon_set(&objects, "edgelb")?["spec"])?;
    removes_from_every_node(&daemon_set(&objects, "edgelb-uninstall")?["spec"]["template"]["spec"])
}

fn is_of_the_demo(object: &Value) -> bool {
    [&object["metadata"]["namespace"], &object["metadata"]["name"]].into_iter().any(|name| name == DEMO)
}

fn daemon_set<'a>(objects: &'a [Value], name: &str) -> Result<&'a Value> {
    let is_it = |object: &&Value| object["kind"] == "DaemonSet" && object["metadata"]["name"] == name;
    objects.iter().find(is_it).with_context(|| format!("no DaemonSet {name}"))
}

/// So that all of it is found by one selector.
fn is_labelled(metadata: &Value) -> Result<()> {
    let labels = &metadata["labels"];
    let name = labels["app.kubernetes.io/name"].as_str();
    ensure!(name.is_some_and(|name| name.starts_with("edgelb")), "{labels}");
    holds(labels, &[("/app.kubernetes.io~1part-of", json!("edgelb"))])
}

/// What every pod of ours has in common: the least that it gets by with.
fn is_careful(pod: &Value) -> Result<()> {
    holds(
        pod,
        &[("/enableServiceLinks", json!(false)), ("/nodeSelector/kubernetes.io~1os", json!("linux"))],
    )?;
    let containers = ["containers", "initContainers"].map(|list| pod[list].as_array());
    for container in containers.into_iter().flatten().flatten() {
        let image = concat!("edgelb.dev/edgelb:", env!("CARGO_PKG_VERSION"));
        let expected = [
            ("/image", json!(image)),
            ("/imagePullPolicy", json!("IfNotPresent")),
            ("/securityContext/readOnlyRootFilesystem", json!(true)),
            ("/securityContext/allowPrivilegeEscalation", json!(false)),
            ("/securityContext/capabilities/drop", json!(["ALL"])),
            ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ];
        holds(container, &expected)?;
        // Each would be a hostPort, and keep a second pod off the node.
        ensure!(container["ports"].is_null() && container["resources"]["limits"].is_null(), "{container}");
        let requests = &container["resources"]["requests"];
        ensure!(requests["cpu"].is_string() && requests["memory"].is_string(), "{requests}");
    }
    Ok(())
}

/// With what the overlay and each component add.
fn is_the_agent(set: &Value) -> Result<()> {
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    holds(set, &[("/updateStrategy", rolling)])?;
    let pod = &set["template"]["spec"];
    let expected = [
        ("/hostNetwork", json!(true)),
        ("/dnsPolicy", json!("ClusterFirstWithHostNet")),
        ("/priorityClassName", json!("system-node-critical")),
        ("/nodeSelector/edgelb.dev~1edge", json!("true")),
        ("/tolerations", json!([{ "operator": "Exists" }])),
        ("/containers/0/readinessProbe/exec/command", json!(["/lb-agent", "health", "--exclude-drain"])),
        ("/containers/0/livenessProbe/exec/command", json!(["/lb-agent", "health", "--live"])),
    ];
    holds(pod, &expected)?;
    let agent = &pod["containers"][0];
    let capabilities = &agent["securityContext"]["capabilities"]["add"];
    ensure!(*capabilities == json!(["BPF", "NET_ADMIN", "NET_BIND_SERVICE", "PERFMON"]), "{capabilities}");
    let of = |name: &str| agent["env"].as_array()?.iter().find(|set| set["name"] == name);
    for name in ["NODE", "TAKE_OVER", "INTERFACES", "HTTP", "HTTPS", "METRICS_ADDR", "SECRETS"] {
        ensure!(of(&format!("EDGELB_{name}")).is_some(), "no EDGELB_{name}: {}", agent["env"]);
    }
    for name in ["EDGELB_GRACE", "EDGELB_GRACE_FOLLOWED"] {
        let grace = of(name).and_then(|set| set["value"].as_str()?.parse::<u64>().ok());
        ensure!(
            grace.is_some() && grace < pod["terminationGracePeriodSeconds"].as_u64(),
            "{name}: {grace:?}"
        );
    }
    Ok(())
}

/// A node that lost its label still has all of it.
fn removes_from_every_node(pod: &Value) -> Result<()> {
    let every = json!({ "kubernetes.io/os": "linux" });
    holds(pod, &[("/nodeSelector", every), ("/tolerations", json!([{ "operator": "Exists" }]))])
}

/// The parts of a value, by JSON pointer.
fn holds(value: &Value, parts: &[(&str, Value)]) -> Result<()> {
    for (part, expected) in parts {
        ensure!(value.pointer(part) == Some(expected), "{part} is {:?}, not {expected}", value.pointer(part));
    }
    Ok(())
}
