//! What this agent writes to the cluster, as a task of its own: a stalled API server holds up nothing else.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use super::connect;
use crate::admin::Live;
use crate::cli::Run;
use crate::metrics::StatusMetrics;
use crate::model::{Basis, Draining, FlowKeys, Loaded, Turn};
use crate::source::kube::Handle;
use crate::status::{self, AgentState, AskReport, Inputs, Options, Timing};

/// The task; it ends with the agent.
pub(super) struct Writer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Begins to write, with what the other stages tell.
    pub(super) async fn start(
        run: &Run,
        source: &Handle,
        live: &Live,
        metrics: StatusMetrics,
    ) -> Result<Self> {
        let client = connect::writer(run.kubeconfig.as_deref()).await?;
        let drain_deadline = Duration::from_secs(run.drain_deadline.into());
        let timing = Timing { drain_deadline, ..Timing::default() };
        let options = Options { namespace: run.namespace.clone(), node: live.node.clone(), timing };
        let (state, says) = watch::channel(None);
        let inputs = Inputs {
            state: says,
            loaded: live.kernel.clone(),
            keys: live.keys.clone().unwrap_or_else(|| watch::Sender::default().subscribe()),
            edge_nodes: source.edge_nodes.clone(),
            report: report(source.clone()),
            changed: live.proxy.clone(),
        };
        let parts = Parts {
            turn: live.turn.clone(),
            kernel: live.kernel.clone(),
            proxy: live.proxy.clone(),
            draining: live.draining.clone(),
            keys: live.keys.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stop = async { _ = stopped.await };
            tokio::select! {
                () = status::run(client, options, inputs, metrics, stop) => {}
                () = parts.tell(state) => {}
            }
        });
        Ok(Self { stop, task })
    }

    /// Tells the cluster that this agent stops.
    pub(super) async fn stop(self) {
        _ = self.stop.send(());
        if let Err(error) = self.task.await {
            warn!(%error, "the cluster is not told that this agent stops");
        }
    }
}

/// Nothing is to be said of objects as they were: not of a stored state.
fn report(source: Handle) -> AskReport {
    Box::new(move || {
        let source = source.clone();
        Box::pin(async move {
            let is_known = source.following.borrow().basis == Basis::Cluster;
            if is_known { Some(source.report().await) } else { None }
        })
    })
}

/// What the state of an agent is made of.
struct Parts {
    turn: watch::Receiver<Turn>,
    kernel: Option<watch::Receiver<Loaded>>,
    proxy: watch::Receiver<u64>,
    draining: watch::Receiver<Option<Draining>>,
    keys: Option<watch::Receiver<FlowKeys>>,
}

impl Parts {
    /// Tells the state for as long as it is polled.
    async fn tell(mut self, state: watch::Sender<Option<AgentState>>) {
        loop {
            let now = self.state();
            state.send_if_modified(|before| std::mem::replace(before, now) != now);
            // A part whose sender is gone stays as it was.
            tokio::select! {
                Ok(()) = self.turn.changed() => {}
                Ok(()) = self.proxy.changed() => {}
                Ok(()) = self.draining.changed() => {}
                Ok(()) = changed(&mut self.kernel) => {}
                Ok(()) = changed(&mut self.keys) => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Only who has the packet path speaks for the node; until it is known who has, it starts. So does who does not know
    /// the key by which the others find flows: it is no first hop, and nobody waits for it. What its Node says is no word of
    /// its own: the leader knows it, and has nodes join that are cordoned, in case all are.
    fn state(&self) -> Option<AgentState> {
        let is_in_kernel = self.kernel.as_ref().is_none_or(|loaded| loaded.borrow().generation > 0);
        let lacks_key = self.keys.as_ref().is_some_and(|keys| keys.borrow().are_wanting());
        match *self.turn.borrow() {
            Turn::Waiting | Turn::After => None,
            Turn::Holding if is_in_kernel && !lacks_key && *self.proxy.borrow() > 0 => {
                let is_told = self.draining.borrow().is_some_and(|told| !told.is_nodes());
                Some(if is_told { AgentState::Draining } else { AgentState::Ready })
            }
            Turn::Before | Turn::Holding => Some(AgentState::Starting),
        }
    }
}

pub(super) async fn changed<T>(part: &mut Option<watch::Receiver<T>>) -> Result<(), watch::error::RecvError> {
    match part {
        Some(part) => part.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Drain;

    #[test]
    fn who_has_the_packet_path_speaks_for_the_node() {
        let state = |turn, kernel, proxy, draining: Option<Draining>| {
            let loaded = Loaded { generation: kernel, ..Loaded::default() };
            let kernel = Some(watch::Sender::new(loaded).subscribe());
            let (turn, proxy) = (watch::Sender::new(turn).subscribe(), watch::Sender::new(proxy).subscribe());
            let draining = watch::Sender::new(draining).subscribe();
            Parts { turn, kernel, proxy, draining, keys: None }.state()
        };
        for (turn, kernel, proxy, expected) in [
            (Turn::Before, 0, 0, Some(AgentState::Starting)),
            (Turn::Waiting, 0, 1, None),
            (Turn::Holding, 0, 1, Some(AgentState::Starting)),
            (Turn::Holding, 1, 0, Some(AgentState::Starting)),
            (Turn::Holding, 1, 1, Some(AgentState::Ready)),
            (Turn::After, 1, 1, None),
        ] {
            let cordoned = Draining::beside_node(None, Some(Drain::Cordoned));
            for told in [None, cordoned] {
                assert_eq!(state(turn, kernel, proxy, told), expected, "{turn:?} {kernel} {proxy}");
            }
            let told = Some(Draining::within(Duration::ZERO));
            let draining = expected.map(|state| match state {
                AgentState::Ready => AgentState::Draining,
                other => other,
            });
            assert_eq!(state(turn, kernel, proxy, told), draining, "{turn:?} {kernel} {proxy}");
        }
    }

    #[test]
    fn who_lacks_the_key_of_the_others_is_not_waited_for() {
        for (lacks, is_doubted, expected) in [
            (None, false, AgentState::Ready),
            (Some(0xb), false, AgentState::Starting),
            // It goes on by its own, and whoever is not ready is put out.
            (Some(0xb), true, AgentState::Ready),
        ] {
            let keys = FlowKeys { lacks, is_doubted, ..FlowKeys::default() };
            let loaded = Loaded { generation: 1, ..Loaded::default() };
            let parts = Parts {
                turn: watch::Sender::new(Turn::Holding).subscribe(),
                kernel: Some(watch::Sender::new(loaded).subscribe()),
                proxy: watch::Sender::new(1).subscribe(),
                draining: watch::Sender::new(None).subscribe(),
                keys: Some(watch::Sender::new(keys).subscribe()),
            };
            assert_eq!(parts.state(), Some(expected));
        }
    }
}
