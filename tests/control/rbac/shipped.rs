//! A control plane to which `deploy` has been applied, by a person with all rights.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lb_tests::cluster::{ControlPlane, Login, Options};
use tempfile::TempDir;

use super::Profile;

pub(super) const NAMESPACE: &str = "edgelb-system";

/// The namespace that `secrets-of-a-namespace.yaml` names.
pub(super) const DEMO: &str = "demo";

/// Reads, too, and what was refused.
const EVERYTHING: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [{"level": "Metadata"}]
}"#;

pub(super) struct Shipped {
    pub(super) control_plane: ControlPlane,
    pub(super) folder: TempDir,
}

impl Shipped {
    pub(super) fn start(profile: Profile) -> Result<Self> {
        let folder = TempDir::new()?;
        let policy = folder.path().join("audit.json");
        fs::write(&policy, EVERYTHING)?;
        let api_server_flags = vec![format!("--audit-policy-file={}", policy.display())];
        let control_plane = ControlPlane::start_with(Options { api_server_flags, ..Options::default() })?;
        let shipped = Self { control_plane, folder };
        shipped.kubectl(&["create", "namespace", DEMO])?;
        // Built as a user's own kustomization, beside a copy: kustomize takes no absolute paths.
        let deploy = shipped.folder.path().join("deploy");
        copy(&repository().join("deploy"), &deploy)?;
        let mut own = "resources: [../base, ../uninstall]\n".to_owned();
        if profile == Profile::Named {
            own.push_str("components: [../components/named-secrets]\n");
            let example = deploy.join("components/named-secrets/secrets-of-a-namespace.yaml");
            shipped.apply("--filename", &example)?;
        }
        fs::create_dir(deploy.join("own"))?;
        fs::write(deploy.join("own/kustomization.yaml"), own)?;
        shipped.apply("--kustomize", &deploy.join("own"))?;
        Ok(shipped)
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.kubectl(arguments)
    }

    pub(super) fn apply(&self, flag: &str, path: &Path) -> Result<()> {
        let path = path.to_str().context("a path in UTF-8")?;
        self.kubectl(&["apply", "--server-side", "--validate=strict", flag, path]).map(drop)
    }

    /// Of an account in edgelb's namespace, with a token that the server made for it.
    pub(super) fn kubeconfig(&self, account: &str) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", account, "--namespace", NAMESPACE])?;
        let login = Login::Token(token.trim().to_owned());
        self.control_plane.write_kubeconfig(account, &self.control_plane.url(), &login)
    }
}

pub(super) fn repository() -> PathBuf {
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
