//! What the workers know of endpoints, asked from outside: each answers of its own, between two requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::checks::Register;
use crate::model::EndpointState;

/// A worker that needs longer is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks a running proxy. A clone asks the same one.
#[derive(Clone, Debug)]
pub struct Observer {
    workers: Arc<[mpsc::UnboundedSender<Question>]>,
    checks: Register,
}

/// What a worker is asked: it answers of those that it knows.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) answer: mpsc::UnboundedSender<Vec<(SocketAddr, EndpointState)>>,
}

impl Observer {
    /// Of these workers, and of what is checked.
    pub(super) fn new(workers: Arc<[mpsc::UnboundedSender<Question>]>, checks: Register) -> Self {
        Self { workers, checks }
    }

    /// What is known of these endpoints, of each that is checked or that any worker knows. A worker that does not
    /// answer is left out.
    pub async fn endpoints(&self, addresses: &[SocketAddr]) -> BTreeMap<SocketAddr, EndpointState> {
        let (answer, mut answers) = mpsc::unbounded_channel();
        let addresses: Arc<[SocketAddr]> = addresses.into();
        for worker in self.workers.iter() {
            // One that has ended does not answer either.
            _ = worker.send(Question { addresses: addresses.clone(), answer: answer.clone() });
        }
        drop(answer);
        let mut all: BTreeMap<SocketAddr, EndpointState> = BTreeMap::new();
        let heard = async {
            while let Some(known) = answers.recv().await {
                for (address, state) in known {
                    add(all.entry(address).or_default(), state);
                }
            }
        };
        if timeout(PATIENCE, heard).await.is_err() {
            tracing::warn!("a worker of the proxy does not say what it knows of endpoints");
        }
        for &address in &*addresses {
            if let Some(state) = self.checks.state(address) {
                all.entry(address).or_default().check = Some(state);
            }
        }
        all
    }
}

fn add(sum: &mut EndpointState, state: EndpointState) {
    sum.known_by += state.known_by;
    sum.ejected_by += state.ejected_by;
    sum.requests += state.requests;
    sum.idle += state.idle;
}
