//! The way out, by the steps of the README.

use anyhow::{Result, ensure};
use lb_tests::lab::address::VIP;
use serde_json::Value;

use super::install::addresses;
use super::site::{DEMO, SYSTEM, Site, file};
use super::soon;

/// A node that is no edge node any more, whoever saw to that: its agent goes, and the kernel has all of it still.
pub(super) fn leaves_out_nobody(site: &mut Site<'_>) -> Result<()> {
    site.kubectl(&["label", "node", "node-2", "edgelb.dev/edge-"])?;
    soon("its pod is gone", || {
        let agents = site.agents()?;
        ensure!(!agents.contains_key("node-2"), "{agents:?}");
        Ok(())
    })?;
    of_nodes_and_status(site)
}

/// Nodes and status are clean before edgelb's own objects go.
fn of_nodes_and_status(site: &mut Site<'_>) -> Result<()> {
    let uninstall = file("uninstall.yaml")?.display().to_string();
    for node in &site.cluster.nodes {
        ensure!(!traces(node)?.is_empty(), "nothing to remove on {}: this would prove nothing", node.name);
    }
    let gone = ["--cascade=foreground", "--timeout=3m"];
    site.kubectl(&[&["delete", "daemonset", "edgelb", "--namespace", SYSTEM], &gone[..]].concat())?;
    let left = site.agents()?;
    ensure!(left.is_empty(), "{left:?} would write again");
    site.kubectl(&["apply", "--validate=strict", "--filename", &uninstall])?;
    soon("pods are scheduled", || {
        let set = site.read(&["daemonset", "edgelb-uninstall", "--namespace", SYSTEM])?;
        ensure!(set["status"]["desiredNumberScheduled"] == 3, "{}", set["status"]);
        Ok(())
    })?;
    site.rolled_out(SYSTEM, "daemonset/edgelb-uninstall")?;
    let job = ["job", "edgelb-uninstall", "--namespace", SYSTEM];
    site.kubectl(&[&["wait", "--for=condition=complete", "--timeout=120s"], &job[..]].concat())?;
    for node in &site.cluster.nodes {
        let left = traces(node)?;
        ensure!(left.is_empty(), "{} still has {left:?}", node.name);
    }
    for object in [["service", "edgelb", "--namespace", SYSTEM], ["ingress", "shop", "--namespace", DEMO]] {
        let object = site.read(&[&object[..], &["--show-managed-fields"]].concat())?;
        ensure!(addresses(&object).is_empty(), "{}", object["status"]);
        let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        ensure!(managers.iter().all(|entry| entry["manager"] != "edgelb"), "{managers:?}");
    }
    Ok(())
}

/// And then those.
pub(super) fn of_objects(site: &mut Site<'_>) -> Result<()> {
    let [install, uninstall] = [file("install.yaml")?, file("uninstall.yaml")?];
    site.kubectl(&["delete", "--timeout=60s", "--filename", &uninstall.display().to_string()])?;
    let install = install.display().to_string();
    site.kubectl(&["delete", "--timeout=60s", "--ignore-not-found", "--filename", &install])?;
    site.kubectl(&["label", "node", "--all", "edgelb.dev/edge-"])?;
    let all = "namespaces,nodes,clusterroles,clusterrolebindings,ingressclasses,customresourcedefinitions";
    let left = site.read(&[all])?;
    let left: Vec<_> =
        left["items"].as_array().into_iter().flatten().filter(|object| is_ours(object)).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn is_ours(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let has_name = metadata["name"].as_str().is_some_and(|name| name.contains("edgelb"));
    let labels = metadata["labels"].as_object();
    has_name || labels.into_iter().flatten().any(|(key, value)| key.contains("edgelb") || value == "edgelb")
}

/// What edgelb leaves on a node that it serves: pins, XDP, local routes of VIPs, stored state.
fn traces(node: &lb_tests::cluster::Node) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for command in [
        // The kernel itself puts maps.debug and progs.debug into each bpffs.
        &["find", "/sys/fs/bpf", "/run/edgelb", "-mindepth", "1", "!", "-name", "*.debug"][..],
        &["ip", "-o", "link", "show", "type", "veth"],
        &["ip", "-4", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "rule"],
    ] {
        // A folder that is not there is as good as one with nothing in it.
        let (_, said) = node.output(command)?;
        let is_file = command[0] == "find";
        let vips = VIP.both().map(|vip| vip.to_string());
        found.extend(
            said.lines()
                .filter(|line| !line.contains("No such file"))
                .filter(|line| {
                    is_file || line.contains("xdp") || vips.iter().any(|vip| line.contains(vip.as_str()))
                })
                .map(str::to_owned),
        );
    }
    Ok(found)
}
