//! Where the agent's objects come from: a folder, or a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use lb_common::hash::FlowKey;
use tokio::sync::watch::{Receiver, Sender};
use tracing::{info, warn};

use super::{connect, settings};
use crate::cli::{Run, Secrets};
use crate::l4::keys;
use crate::model::{Following, Snapshot, Turn};
use crate::source::kube::{FlowSecret, Handle, Options, SecretProfile, Source};
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
        let settings = settings(run);
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

    /// The key of the flow hash: from the file that the command line names, else as soon as the cluster has one.
    pub(super) fn flow_key(&self, run: &Run) -> impl Future<Output = Result<FlowKey>> + use<> {
        let file = run.hash_key_file.clone();
        let name = format!("{}/edgelb-keys", run.namespace);
        let keys = match self {
            Self::Folder { .. } => None,
            Self::Cluster { handle, .. } => Some(handle.keys.clone()),
        };
        async move {
            match (file, keys) {
                (Some(file), _) => Ok(keys::read(&file)?),
                (None, Some(keys)) => first_key(keys, name).await,
                (None, None) => anyhow::bail!("the packet path needs --hash-key-file FILE"),
            }
        }
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

/// The first key that is long enough. Others that come later are named: flows would move if a node took one.
async fn first_key(mut keys: Receiver<Option<FlowSecret>>, secret: String) -> Result<FlowKey> {
    loop {
        let found = keys.borrow_and_update().clone();
        match found {
            Some(found) if found.0.len() >= keys::MIN_SECRET_LEN => {
                tokio::spawn(tell_changes(keys, found.clone(), secret));
                return Ok(keys::derive(&found.0));
            }
            Some(found) => warn!(
                secret,
                bytes = found.0.len(),
                "the flow key is too short: {} bytes or more are needed; the packet path waits",
                keys::MIN_SECRET_LEN
            ),
            None => info!(secret, "the packet path waits for the flow key"),
        }
        // The source is gone, and so will be the agent.
        if keys.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn tell_changes(mut keys: Receiver<Option<FlowSecret>>, used: FlowSecret, secret: String) {
    while keys.changed().await.is_ok() {
        if keys.borrow_and_update().as_ref().is_some_and(|key| *key != used) {
            warn!(
                secret,
                "the flow key has changed; this node keeps the old one until it is restarted. Nodes with different \
                 keys do not understand each other: put the old key back, or restart all agents together"
            );
        }
    }
}
