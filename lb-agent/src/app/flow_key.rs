//! Which flow key a node goes by: the one in force, whatever it is given meanwhile. Another key moves all buckets, and
//! nodes with different keys refuse each other's packets; so it is refused, and told.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lb_common::hash::FlowKey;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::l4::keys;
use crate::model::FlowKeys;
use crate::source::kube::FlowSecret;

/// How often a file is read again: whoever changes it hears of the refusal soon.
const AGAIN: Duration = Duration::from_secs(2);

/// What gives a node its key.
pub(super) enum Given {
    /// A file of the node.
    File(PathBuf),
    /// A Secret, as far as the source knows it.
    Secret { name: String, found: watch::Receiver<Option<FlowSecret>> },
}

impl Given {
    fn source(&self) -> String {
        match self {
            Self::File(file) => file.display().to_string(),
            Self::Secret { name, .. } => format!("Secret {name}"),
        }
    }

    /// The key in force: that of the agent before, if there was one, else the first that is given.
    pub(super) async fn in_force(&mut self, kept: Option<FlowKey>) -> Result<FlowKey> {
        if let Self::File(file) = self {
            let given = keys::read(file)?;
            return Ok(kept.unwrap_or(given));
        }
        loop {
            if let Some(key) = kept.or_else(|| self.now()) {
                return Ok(key);
            }
            info!(source = self.source(), "the packet path waits for the flow key");
            self.changed().await;
        }
    }

    /// Compares what is given with what is in force, and tells, for as long as it is polled.
    pub(super) async fn compare(mut self, in_force: FlowKey, told: &watch::Sender<FlowKeys>) -> Infallible {
        let mut given = in_force;
        loop {
            // One that is gone changes nothing.
            given = self.now().unwrap_or(given);
            let refused = (given != in_force).then(|| keys::fingerprint(&given));
            let now =
                FlowKeys { in_force: Some(keys::fingerprint(&in_force)), refused, source: self.source() };
            if told.borrow().refused != refused {
                match now.refusal() {
                    Some(words) => warn!("{words}"),
                    None => info!(source = now.source, "the flow key in force is there again"),
                }
            }
            told.send_if_modified(|before| {
                let is_new = *before != now;
                *before = now;
                is_new
            });
            self.changed().await;
        }
    }

    /// The key that is given now; `None` while there is none of use.
    fn now(&mut self) -> Option<FlowKey> {
        match self {
            Self::File(file) => keys::read(file).ok(),
            Self::Secret { name, found } => {
                let secret = found.borrow_and_update().clone()?;
                long_enough(name, &secret)
            }
        }
    }

    /// Waits until it may be another one.
    async fn changed(&mut self) {
        match self {
            Self::File(_) => sleep(AGAIN).await,
            Self::Secret { found, .. } => {
                if found.changed().await.is_err() {
                    // The source is gone, and so will be the agent.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

fn long_enough(name: &str, secret: &FlowSecret) -> Option<FlowKey> {
    let bytes = secret.0.len();
    if bytes < keys::MIN_SECRET_LEN {
        warn!(
            secret = name,
            bytes,
            "the flow key is too short: {} bytes or more are needed",
            keys::MIN_SECRET_LEN
        );
        return None;
    }
    Some(keys::derive(&secret.0))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn secret(text: &str) -> Option<FlowSecret> {
        Some(FlowSecret(text.as_bytes().into()))
    }

    /// Waits until this is refused.
    async fn refused(told: &mut watch::Receiver<FlowKeys>, text: Option<&str>) -> FlowKeys {
        let print = text.map(|text| keys::fingerprint(&keys::derive(text.as_bytes())));
        let is_it = |keys: &FlowKeys| keys.in_force.is_some() && keys.refused == print;
        timeout(PATIENCE, told.wait_for(is_it)).await.expect("soon").expect("it is followed").clone()
    }

    #[tokio::test]
    async fn another_secret_is_refused_until_the_first_is_back() {
        let (secrets, found) = watch::channel(secret("too short"));
        let mut given = Given::Secret { name: "edgelb-system/edgelb-keys".to_owned(), found };
        let first = tokio::spawn(async move {
            let key = given.in_force(None).await.expect("it comes");
            (key, given)
        });
        secrets.send_replace(secret("long enough for a key"));
        let (first, given) = timeout(PATIENCE, first).await.expect("soon").expect("no panic");
        let told = watch::Sender::default();
        let mut seen = told.subscribe();
        let comparing = tokio::spawn(async move { given.compare(first, &told).await });
        refused(&mut seen, None).await;
        secrets.send_replace(secret("another key, long enough"));
        let words =
            refused(&mut seen, Some("another key, long enough")).await.refusal().expect("it is refused");
        assert!(words.contains("Secret edgelb-system/edgelb-keys"), "{words}");
        // What is no key, or not there, changes nothing.
        secrets.send_replace(secret("short"));
        secrets.send_replace(None);
        secrets.send_replace(secret("a third key, long enough"));
        refused(&mut seen, Some("a third key, long enough")).await;
        secrets.send_replace(secret("long enough for a key"));
        refused(&mut seen, None).await;
        comparing.abort();
    }

    #[tokio::test]
    async fn who_has_a_key_waits_for_no_secret() {
        let (_secrets, found) = watch::channel(None);
        let kept = keys::derive(b"of the agent before");
        let mut given = Given::Secret { name: "edgelb-system/edgelb-keys".to_owned(), found };
        assert!(given.in_force(Some(kept)).await.expect("it is there") == kept);
    }

    #[tokio::test]
    async fn another_file_is_refused_from_the_start_and_while_the_agent_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hash-key");
        let write = |text: &str| std::fs::write(&file, text).expect("writable");
        write("of before this start");
        let in_force = keys::read(&file).expect("long enough");
        write("after it: another key");
        let mut given = Given::File(file.clone());
        assert!(given.in_force(Some(in_force)).await.expect("long enough") == in_force);
        let told = watch::Sender::default();
        let mut seen = told.subscribe();
        let comparing = tokio::spawn(async move { given.compare(in_force, &told).await });
        refused(&mut seen, Some("after it: another key")).await;
        write("of before this start\n");
        refused(&mut seen, None).await;
        std::fs::remove_file(&file).expect("it is there");
        write("and once more another");
        refused(&mut seen, Some("and once more another")).await;
        comparing.abort();
    }
}
