//! From nothing to an app that is published.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::address::VIP;
use serde_json::{Value, json};

use super::site::{DEMO, HOST, SYSTEM, Site, file};
use super::{ALL, soon};

/// CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF: include/uapi/linux/capability.h.
const SHIPPED: u64 = 1 << 12 | 1 << 38 | 1 << 39;

/// The steps of the README.
pub(super) fn applies(site: &mut Site<'_>) -> Result<()> {
    let install = file("install.yaml")?.display().to_string();
    site.kubectl(&["apply", "--validate=strict", "--filename", &install])?;
    // Again, as for an update, and by the server: nothing is refused, nothing is anybody else's.
    site.kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=strict",
        "--filename",
        &install,
    ])?;
    site.kubectl(&["label", "node", "--all", "edgelb.dev/edge=true"])?;
    let vips = format!("edgelb.dev/vips={},{}", VIP.v4, VIP.v6);
    site.kubectl(&["annotate", "service", "edgelb", "--namespace", SYSTEM, &vips])?;
    site.route_to(&ALL)?;
    soon("pods are scheduled", || {
        let set = site.read(&["daemonset", "edgelb", "--namespace", SYSTEM])?;
        ensure!(set["status"]["desiredNumberScheduled"] == 3, "{}", set["status"]);
        Ok(())
    })?;
    site.rolled_out(SYSTEM, "daemonset/edgelb")
}

/// By the kernel's account of the processes themselves.
pub(super) fn rights_are_as_shipped(site: &mut Site<'_>) -> Result<()> {
    for node in &site.cluster.nodes {
        let (_, all) = node.output(&["sh", "-c", "grep -l '^lb-agent' /proc/[0-9]*/comm"])?;
        let processes: Vec<_> = all.lines().filter_map(|comm| comm.strip_suffix("/comm")).collect();
        // Probes run for a moment, with the same rights.
        ensure!(!processes.is_empty(), "no agent runs on {}", node.name);
        let main = processes.iter().find(|process| {
            let asked = node.output(&["cat", &format!("{process}/cmdline")]);
            asked.is_ok_and(|(_, line)| line.split('\0').any(|argument| argument == "run"))
        });
        let process = main.with_context(|| format!("no agent of {} runs: {processes:?}", node.name))?;
        let (_, status) = node.output(&["cat", &format!("{process}/status")])?;
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(u64::from_str_radix(field(&status, set)?, 16)?, SHIPPED, "{set} on {}", node.name);
        }
        assert_eq!(field(&status, "NoNewPrivs")?, "1");
        assert_eq!(field(&status, "Seccomp")?, "2", "a filter");
        // The Service `edgelb` would set EDGELB_PORT.
        let (_, environment) = node.output(&["cat", &format!("{process}/environ")])?;
        let links: Vec<_> = environment.split('\0').filter(|set| set.starts_with("EDGELB_PORT")).collect();
        ensure!(environment.contains("EDGELB_NODE=") && links.is_empty(), "{links:?}");
        let root = format!("{process}/root/written");
        let (written, said) = node.output(&["touch", &root])?;
        ensure!(!written && said.contains("Read-only"), "{said}");
    }
    Ok(())
}

pub(super) fn all_are_members(site: &mut Site<'_>) -> Result<()> {
    site.await_members(&ALL)?;
    let table = site.kubectl(&["get", "edgememberships"])?;
    let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(columns[0][..4] == ["NAME", "GENERATION", "STEP", "MEMBERS"], "{table}");
    ensure!(table.contains("node-1,node-2,node-3") && table.contains("3 of 3"), "{table}");
    // The leader filled what was shipped empty.
    let keys = site.read(&["secret", "edgelb-keys", "--namespace", SYSTEM])?;
    ensure!(keys["data"]["flow"].as_str().is_some_and(|key| key.len() >= 43), "no flow key");
    Ok(())
}

pub(super) fn publishes_an_app(site: &mut Site<'_>) -> Result<()> {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/overlays/demo/app");
    let app = app.to_str().context("a path in UTF-8")?;
    site.kubectl(&["apply", "--validate=strict", "--kustomize", app])?;
    // Said where a user looks, until it is mended.
    soon("an Event about the Secret that is not there", || {
        let said = site.kubectl(&["describe", "ingress", "shop", "--namespace", DEMO])?;
        ensure!(said.contains("CertificateUnavailable"), "{said}");
        Ok(())
    })?;
    site.cluster.control_plane.create_tls_secret(DEMO, "shop-tls", HOST)?;
    site.rolled_out(DEMO, "deployment/shop")?;
    soon("addresses in the status", || {
        let service = site.read(&["service", "edgelb", "--namespace", SYSTEM])?;
        let proxy = |ip: String| json!({ "ip": ip, "ipMode": "Proxy" });
        let expected = json!([proxy(VIP.v4.to_string()), proxy(VIP.v6.to_string())]);
        ensure!(service["status"]["loadBalancer"]["ingress"] == expected, "{}", service["status"]);
        let ingress = site.read(&["ingress", "shop", "--namespace", DEMO])?;
        let mut found: Vec<_> = addresses(&ingress);
        found.sort_unstable();
        let mut vips = VIP.both().map(|vip| vip.to_string());
        vips.sort_unstable();
        ensure!(found == vips, "{}", ingress["status"]);
        Ok(())
    })
}

/// What the status of a Service or an Ingress says.
pub(super) fn addresses(object: &Value) -> Vec<&str> {
    let listed = object["status"]["loadBalancer"]["ingress"].as_array();
    listed.into_iter().flatten().filter_map(|entry| entry["ip"].as_str()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name} in {status:?}"))?.trim())
}
