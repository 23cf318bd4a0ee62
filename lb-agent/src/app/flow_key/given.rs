//! What gives a node its flow key: a file or a Secret, which people change.

use std::path::PathBuf;

use anyhow::Result;
use lb_common::hash::FlowKey;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::l4::keys;
use crate::model::SecretBytes;
use crate::source::kube::FlowSecret;

/// What gives a node its key.
pub(in crate::app) enum Given {
    /// A file of the node.
    File(PathBuf),
    /// A Secret, as far as the source knows it.
    Secret { name: String, found: watch::Receiver<Option<FlowSecret>> },
}

impl Given {
    /// Its name, for people.
    pub(super) fn source(&self) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Secret { name, .. } => format!("Secret {name}"),
        }
    }

    /// Whether it can give one: a file has to be there from the start on.
    pub(super) fn expect(&self) -> Result<()> {
        if let Self::File(file) = self {
            keys::read(file)?;
        }
        Ok(())
    }

    /// Waits for the first one.
    pub(super) async fn first(&mut self) -> Result<FlowKey> {
        self.expect()?;
        loop {
            if let Some(key) = self.now() {
                return Ok(key);
            }
            info!(source = self.source(), "the packet path waits for the flow key");
            self.changed().await;
        }
    }

    /// The key that is given now; `None` while there is none of use.
    pub(super) fn now(&mut self) -> Option<FlowKey> {
        let secret = self.secret();
        if secret.is_none() {
            self.complain();
        }
        secret.map(|secret| keys::derive(&secret))
    }

    /// What the key is made of.
    pub(in crate::app) fn secret(&mut self) -> Option<SecretBytes> {
        match self {
            Self::File(file) => keys::read(file).ok(),
            Self::Secret { found, .. } => {
                let secret = found.borrow_and_update().clone()?;
                Some(secret.0).filter(|secret| secret.len() >= keys::MIN_SECRET_LEN)
            }
        }
    }

    /// Says what is wrong with a Secret that is there.
    fn complain(&self) {
        let Self::Secret { name, found } = self else { return };
        if let Some(secret) = &*found.borrow() {
            let (bytes, least) = (secret.0.len(), keys::MIN_SECRET_LEN);
            warn!(secret = name, bytes, "the flow key is too short: {least} bytes or more are needed");
        }
    }

    /// Whether nobody tells when it is another one.
    pub(in crate::app) fn is_looked_at(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Waits until it is told that it may be another one.
    pub(in crate::app) async fn changed(&mut self) {
        match self {
            Self::File(_) => std::future::pending().await,
            Self::Secret { found, .. } => {
                if found.changed().await.is_err() {
                    // The source is gone, and so will be the agent.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_secret_is_waited_for_until_it_is_long_enough() {
        let secret = |text: &str| Some(FlowSecret(text.as_bytes().into()));
        let (secrets, found) = watch::channel(secret("too short"));
        let mut given = Given::Secret { name: "edgelb-system/edgelb-keys".to_owned(), found };
        let first = tokio::spawn(async move { (given.first().await, given) });
        secrets.send_replace(secret("long enough for a key"));
        let (first, mut given) = timeout(PATIENCE, first).await.expect("soon").expect("no panic");
        assert!(first.expect("it comes") == keys::derive(b"long enough for a key"));
        for none in [secret("short"), None] {
            secrets.send_replace(none);
            assert!(given.now().is_none());
        }
    }

    #[tokio::test]
    async fn a_file_has_to_be_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hash-key");
        let mut given = Given::File(file.clone());
        assert!(given.first().await.is_err());
        std::fs::write(&file, "long enough for a key\n").expect("writable");
        assert!(given.first().await.expect("it is there") == keys::derive(b"long enough for a key"));
        std::fs::write(&file, "short").expect("writable");
        assert!(given.now().is_none() && given.expect().is_err());
    }
}
