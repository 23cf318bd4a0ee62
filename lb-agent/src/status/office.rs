//! What the leader does, for as long as it leads.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::timeout;

use super::addresses::Addresses;
use super::duty::Duty;
use super::events::Events;
use super::history::History;
use super::keys::Keys;
use super::membership::Since;
use super::pace::Bucket;
use super::{Inputs, Options, Timing, Told, reports};
use crate::metrics::StatusMetrics;

/// A leader that stops waits as long for the history to be written without it. If that fails, the next leader does
/// it.
const LAST_ACT: Duration = Duration::from_millis(1500);

/// The leader's office: open to whoever leads.
pub(super) struct Office<'a> {
    pub(super) client: Client,
    pub(super) options: &'a Options,
    pub(super) inputs: &'a Inputs,
    /// Until when this process leads; `None` while it does not.
    pub(super) until: watch::Receiver<Option<Instant>>,
    /// What the leader alone knows of Nodes.
    pub(super) told: watch::Sender<Told>,
    /// The members in the history, by name.
    pub(super) members: watch::Sender<BTreeSet<String>>,
    pub(super) metrics: StatusMetrics,
}

impl Office<'_> {
    /// Does what a leader does whenever this process leads.
    pub(super) async fn run(&self) -> Infallible {
        let mut until = self.until.clone();
        loop {
            // The sender lives as long as the election, which outlives this.
            if until.wait_for(Option::is_some).await.is_err() {
                return std::future::pending().await;
            }
            tokio::select! {
                never = self.lead() => match never {},
                _ = until.wait_for(Option::is_none) => self.leave(),
            }
        }
    }

    async fn lead(&self) -> Infallible {
        let reports = watch::Sender::new(None);
        let Timing { writes_per_second, events_per_second, patience, .. } = self.options.timing;
        let bucket = |per_second| Bucket::new(per_second, per_second, Instant::now());
        let addresses = Addresses {
            client: self.client.clone(),
            reports: reports.subscribe(),
            until: self.until.clone(),
            patience,
            bucket: bucket(writes_per_second),
            metrics: self.metrics.clone(),
        };
        let events = Events {
            client: self.client.clone(),
            node: self.options.node.clone(),
            reports: reports.subscribe(),
            told: self.told.subscribe(),
            patience,
            bucket: bucket(events_per_second),
            metrics: self.metrics.clone(),
        };
        let keys = Keys {
            secrets: Api::namespaced(self.client.clone(), &self.options.namespace),
            namespace: self.options.namespace.clone(),
            patience,
            metrics: self.metrics.clone(),
        };
        let reports = reports::follow(self.inputs, &reports);
        tokio::join!(self.duty().run(), addresses.run(), events.run(), keys.run(), reports).0
    }

    fn duty(&self) -> Duty<'_> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.options.namespace);
        let timing = &self.options.timing;
        Duty {
            leases,
            history: History::new(self.client.clone(), timing.patience, self.metrics.clone()),
            period: timing.agent_period,
            patience: timing.patience,
            deadline: timing.drain_deadline,
            since: Since::default(),
            edge_nodes: self.inputs.edge_nodes.clone(),
            until: self.until.clone(),
            told: &self.told,
            members: &self.members,
            metrics: self.metrics.clone(),
            is_failing: false,
            is_deaf: false,
        }
    }

    fn leave(&self) {
        for gauge in [&self.metrics.generation, &self.metrics.diverging, &self.metrics.pending] {
            gauge.set(0);
        }
        self.told.send_replace(Told::default());
        self.members.send_replace(BTreeSet::new());
    }

    /// Waits until the history is without this node: only a leader knows.
    pub(super) async fn wait_until_out(&self, node: &str) {
        // The last member stays whatever it says.
        let is_out = |members: &BTreeSet<String>| !members.contains(node) || members.len() == 1;
        _ = timeout(LAST_ACT, self.members.subscribe().wait_for(is_out)).await;
    }
}
