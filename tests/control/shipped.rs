//! A control plane to which `deploy` is applied, by a person with all rights.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lb_tests::cluster::{ControlPlane, Login, Options};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const NAMESPACE: &str = "edgelb-system";

/// The namespace that `secrets-of-a-namespace.yaml` names.
pub(crate) const DEMO: &str = "demo";

/// Reads, too, and what was refused.
const EVERYTHING: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [{"level": "Metadata"}]
}"#;

pub(crate) struct Shipped {
    pub(crate) control_plane: ControlPlane,
    pub(crate) folder: TempDir,
}

impl Shipped {
    /// Nothing is applied yet; a copy of `deploy` is in its folder, as a user has it.
    pub(crate) fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let policy = folder.path().join("audit.json");
        fs::write(&policy, EVERYTHING)?;
        let api_server_flags = vec![format!("--audit-policy-file={}", policy.display())];
        let control_plane = ControlPlane::start_with(Options { api_server_flags, ..Options::default() })?;
        copy(&repository().join("deploy"), &folder.path().join("deploy"))?;
        let shipped = Self { control_plane, folder };
        shipped.kubectl(&["create", "namespace", DEMO])?;
        Ok(shipped)
    }

    /// Applies a user's own kustomization: kustomize takes no absolute paths, so it stands beside ours.
    pub(crate) fn apply_own(&self, kustomization: &str) -> Result<()> {
        let own = self.folder.path().join("deploy/own");
        fs::create_dir(&own)?;
        fs::write(own.join("kustomization.yaml"), kustomization)?;
        self.apply("--kustomize", &own)
    }

    /// The objects of that, as the server has them.
    pub(crate) fn own_objects(&self) -> Result<Vec<Value>> {
        let own = self.folder.path().join("deploy/own");
        let own = own.to_str().context("a path in UTF-8")?;
        let list = self.kubectl(&["get", "--kustomize", own, "--output=json"])?;
        let list: Value = serde_json::from_str(&list)?;
        Ok(list["items"].as_array().context("a list")?.clone())
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.kubectl(arguments)
    }

    pub(crate) fn apply(&self, flag: &str, path: &Path) -> Result<()> {
        let path = path.to_str().context("a path in UTF-8")?;
        self.kubectl(&["apply", "--server-side", "--validate=strict", flag, path]).map(drop)
    }

    /// Of an account in edgelb's namespace, with a token that the server made for it.
    pub(crate) fn kubeconfig(&self, account: &str) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", account, "--namespace", NAMESPACE])?;
        let login = Login::Token(token.trim().to_owned());
        self.control_plane.write_kubeconfig(account, &self.control_plane.url(), &login)
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
