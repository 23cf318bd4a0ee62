//! The cluster as the source: watches feed the index that every source feeds, and its translation is published.
//! Reads only; what is written to the cluster is not written here.
//!
//! ```text
//! API server -> Follower, one a kind -> Message -> State (index, Secrets of use) -> Builder -> snapshots
//!                                                    stored file, as long as nothing is complete --^
//! ```

mod backoff;
mod build;
mod conditions;
mod failure;
mod feed;
mod follow;
mod keep;
mod progress;
mod run;
mod secrets;
mod settle;
mod state;
mod stored;
mod watches;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::feed::FlowSecret;
pub use self::run::{Source, source};
pub use self::secrets::SecretProfile;
use crate::model::{EdgeNode, Following, Report};

/// Makes a client, with connections of its own: over HTTP/2 one, on which a server takes 100 requests at a time.
pub type Connect = Box<dyn Fn() -> Result<Client, kube::Error> + Send + Sync>;

/// How the cluster is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node: String,
    /// Our own namespace, where the Secret with the flow hash's key is.
    pub namespace: String,
    /// How Secrets are read.
    pub secrets: SecretProfile,
    /// Where the state is stored, for a start without the API server.
    pub folder: PathBuf,
}

/// What others learn of a source at work. A clone learns the same.
#[derive(Clone, Debug)]
pub struct Handle {
    /// How well it follows the cluster.
    pub following: watch::Receiver<Following>,
    /// The secret of the flow hash; `None` until the cluster, or the stored state, has one.
    pub keys: watch::Receiver<Option<FlowSecret>>,
    /// The edge nodes; `None` before all objects were read once.
    pub edge_nodes: watch::Receiver<Option<Vec<EdgeNode>>>,
    reports: mpsc::Sender<oneshot::Sender<Report>>,
}

impl Handle {
    /// What the cluster is to be told about its objects now; empty before the objects are known, and when the
    /// source is gone.
    pub async fn report(&self) -> Report {
        let (ask, answer) = oneshot::channel();
        match self.reports.send(ask).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Report::default(),
        }
    }
}
