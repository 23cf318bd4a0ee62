//! The Secret of the flow hash: shipped empty, filled once, by the leader. All nodes need the same one.

use std::convert::Infallible;
use std::time::Duration;

use aws_lc_rs::rand;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use tokio::time::sleep;
use tracing::{info, warn};

use super::error::{Remedy, StatusError, ask, write};
use super::names;
use super::pace::jittered;
use crate::metrics::{StatusMetrics, Written};

/// As many as the hash makes use of.
const LEN: usize = 32;

/// A Secret that is not there may be there later.
const AGAIN: Duration = Duration::from_secs(5);

/// Looks after the Secret while this process leads.
pub(super) struct Keys {
    pub(super) secrets: Api<Secret>,
    pub(super) namespace: String,
    pub(super) patience: Duration,
    pub(super) metrics: StatusMetrics,
}

impl Keys {
    /// Does it, for as long as it is polled. A Secret that was filled is not looked at again: it never changes.
    pub(super) async fn run(self) -> Infallible {
        let mut said = String::new();
        loop {
            match self.fill().await {
                Ok(true) => return std::future::pending().await,
                Ok(false) => self.say(&mut said, "it is not there: it comes with the manifests".to_owned()),
                Err(error) if error.remedy() == Remedy::LookAgain => {}
                Err(error) => self.say(&mut said, error.to_string()),
            }
            sleep(jittered(AGAIN)).await;
        }
    }

    fn say(&self, said: &mut String, error: String) {
        if *said != error {
            let secret = format!("{}/{}", self.namespace, names::KEYS);
            warn!(secret, error, "the flow hash's Secret cannot be filled: edge nodes wait for it");
            *said = error;
        }
    }

    /// False if there is no such Secret.
    async fn fill(&self) -> Result<bool, StatusError> {
        let found = ask(self.patience, self.secrets.get_opt(names::KEYS)).await?;
        let Some(mut secret) = found else { return Ok(false) };
        let flow = secret.data.get_or_insert_default().entry(names::FLOW.to_owned()).or_default();
        if !flow.0.is_empty() {
            return Ok(true);
        }
        let mut key = vec![0; LEN];
        // It fails only where the system has no random numbers at all: nothing would work there.
        rand::fill(&mut key).expect("the system has random numbers");
        *flow = ByteString(key);
        // With the version that was read: of two leaders only one can.
        let params = PostParams::default();
        let request = self.secrets.replace(names::KEYS, &params, &secret);
        write(Written::Secret, &self.metrics, self.patience, request).await?;
        info!(secret = names::KEYS, "the flow hash has a key");
        Ok(true)
    }
}
