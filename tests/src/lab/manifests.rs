//! The folder that the agents read, and objects for it that are not in `deploy/examples`.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use serde_json::json;

use super::address::Link;
use super::certificates::Certificate;

/// The namespace of the examples' apps, and of all that is added here.
pub const NAMESPACE: &str = "demo";

/// The folder that the agents read.
#[derive(Debug)]
pub struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a file in place, in one step. The moment just before that step is returned.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, name: &str, text: &str) -> Result<Instant> {
        // A name that is none of a manifest, beside the folder: it never is seen half written.
        let draft = self.folder.with_file_name(format!("{name}.draft"));
        fs::write(&draft, text)?;
        let before = Instant::now();
        fs::rename(&draft, self.folder.join(name)).with_context(|| format!("manifest {name}"))?;
        Ok(before)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// If it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.folder.join(name)).with_context(|| format!("manifest {name}"))
    }

    /// `tls-<name>.yaml`: a Secret.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_secret(&self, name: &str, certificate: &Certificate) -> Result<Instant> {
        self.write(&format!("tls-{name}.yaml"), &secret(name, certificate))
    }
}

/// A Secret of the lab's namespace with a certificate and its key.
#[must_use]
pub fn secret(name: &str, certificate: &Certificate) -> String {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "data": {
            "tls.crt": ByteString(certificate.chain.clone().into_bytes()),
            "tls.key": ByteString(certificate.key.clone().into_bytes()),
        },
    });
    format!("{secret:#}\n")
}

/// An Ingress of the class `edgelb` in the lab's namespace. Rules are `(host, path, Service)`, paths are prefixes;
/// TLS sections are `(host, Secret)`.
#[must_use]
pub fn ingress(name: &str, rules: &[(&str, &str, &str)], tls: &[(&str, &str)]) -> String {
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n\
         spec:\n  ingressClassName: edgelb\n"
    );
    if !tls.is_empty() {
        text.push_str("  tls:\n");
    }
    for (host, secret) in tls {
        let _ = writeln!(text, "    - hosts: [{host}]\n      secretName: {secret}");
    }
    text.push_str("  rules:\n");
    for (host, path, service) in rules {
        let _ = writeln!(
            text,
            "    - host: {host}\n      http:\n        paths:\n          - path: {path}\n            pathType: Prefix\n            \
             backend:\n              service:\n                name: {service}\n                port:\n                  number: 80"
        );
    }
    text
}

/// `deploy/examples/nodes.yaml`
pub(crate) const EXAMPLE_NODES: &str = include_str!("../../../deploy/examples/nodes.yaml");

const IS_EDGE: &str = "edgelb.dev/edge: \"true\"";

/// Node objects after the pattern of the examples' first one; those in `out` are no edge nodes.
#[must_use]
pub fn nodes(all: &[(&str, IpAddr)], out: &[&str]) -> String {
    objects(all, |node, text| match out.contains(&node) {
        true => text.replace(IS_EDGE, "edgelb.dev/edge: \"false\""),
        false => text,
    })
}

/// As `nodes`, all edge nodes; those in `cordoned` are.
#[must_use]
pub(crate) fn cordoned(all: &[(&str, IpAddr)], cordoned: &[&str]) -> String {
    objects(all, |node, text| match cordoned.contains(&node) {
        true => text + "spec: { unschedulable: true }\n",
        false => text,
    })
}

/// As `nodes`, all edge nodes; those in `weights` have another one than the usual.
#[must_use]
pub(crate) fn weighted(all: &[(&str, IpAddr)], weights: &[(&str, u32)]) -> String {
    objects(all, |node, text| match weights.iter().find(|(name, _)| *name == node) {
        Some((_, weight)) => {
            let annotations = format!("metadata:\n  annotations:\n    edgelb.dev/weight: \"{weight}\"\n");
            text.replace("metadata:\n", &annotations)
        }
        None => text,
    })
}

fn objects(all: &[(&str, IpAddr)], change: impl Fn(&str, String) -> String) -> String {
    let (head, rest) = EXAMPLE_NODES.split_at(EXAMPLE_NODES.find("apiVersion").unwrap_or(0));
    let pattern = rest.split("---\n").next().unwrap_or_default();
    let (name, address) = ("edge-1", Link::edge(1).host.v4.to_string());
    let objects = all
        .iter()
        .map(|(node, at)| change(node, pattern.replace(name, node).replace(&address, &at.to_string())));
    format!("{head}{}", objects.collect::<Vec<_>>().join("---\n"))
}
