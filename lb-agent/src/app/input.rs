//! Where the agent's objects come from: a folder, or a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::watch::{Receiver, Sender};

use super::flow_key::Given;
use super::{connect, settings};
use crate::cli::{Run, Secrets};
use crate::model::{Following, Snapshot, Turn};
use crate::source::kube::{Handle, Options, SecretProfile, Source};
use crate::source::{self, Settings};

type Snapshots = Sender<Option<Arc<Snapshot>>>;

/// A source, ready to run.
pub(super) enum Input {
    /// A folder of manifests.
    Folder { folder: PathBuf, settings: Settings, snapshots: Snapshots },
    /// A cluster.
    Cluster { source: Box<Source>, handle: Handle },
}

impl Input {
    /// The source that the command line names; what is wrong with it before it begins.
    pub(super) async fn new(run: &Run, node: &str, snapshots: Snapshots) -> Result<Self> {
        let settings = settings(run, node);
        if let Some(folder) = run.manifests.clone() {
            std::fs::read_dir(&folder)
                .with_context(|| format!("cannot read the manifests folder {}", folder.display()))?;
            return Ok(Self::Folder { folder, settings, snapshots });
        }
        let options = Options {
            node: node.to_owned(),
            namespace: run.namespace.clone(),
            secrets: match run.secrets {
                Secrets::Cluster => SecretProfile::Cluster,
                Secrets::Named => SecretProfile::Named,
            },
            folder: run.state.clone(),
        };
        let connect = connect::connector(run.kubeconfig.as_deref()).await?;
        let (source, handle) = source::kube::source(connect, options, settings, snapshots);
        Ok(Self::Cluster { source: Box::new(source), handle })
    }

    /// The cluster, for those who write to it.
    pub(super) fn cluster(&self) -> Option<Handle> {
        match self {
            Self::Folder { .. } => None,
            Self::Cluster { handle, .. } => Some(handle.clone()),
        }
    }

    /// How well a cluster is followed.
    pub(super) fn following(&self) -> Option<Receiver<Following>> {
        match self {
            Self::Folder { .. } => None,
            Self::Cluster { handle, .. } => Some(handle.following.clone()),
        }
    }

    /// What gives the key of the flow hash: the file that the command line names, else the cluster.
    pub(super) fn flow_key(&self, run: &Run) -> Option<Given> {
        let file = run.hash_key_file.clone().map(Given::File);
        file.or_else(|| match self {
            Self::Folder { .. } => None,
            Self::Cluster { handle, .. } => Some(Given::Secret {
                name: format!("{}/edgelb-keys", run.namespace),
                found: handle.keys.clone(),
            }),
        })
    }

    /// Follows it until the agent ends. What is stored of a cluster is stored by who has the packet path.
    pub(super) async fn run(self, turn: Receiver<Turn>) -> Result<()> {
        match self {
            Self::Folder { folder, settings, snapshots } => {
                Ok(source::files::run(folder, settings, snapshots).await?)
            }
            Self::Cluster { source, .. } => Ok(source.run(turn).await?),
        }
    }
}
