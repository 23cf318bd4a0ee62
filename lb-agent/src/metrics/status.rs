//! What is written to the cluster.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Labels, gauge};

/// What is written to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The node's own Lease, and the leader's.
    Lease,
    /// The history of memberships.
    Membership,
    /// A Service's addresses.
    Service,
    /// An Ingress's addresses.
    Ingress,
    /// An Event.
    Event,
    /// The Secret of the flow hash.
    Secret,
}

impl Written {
    const LABELS: [&'static str; 6] = ["lease", "membership", "service", "ingress", "event", "secret"];
}

/// How the API server answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteOutcome {
    /// It took it.
    Ok,
    /// Somebody else was faster.
    Conflict,
    /// It refused it: rights, a rule, an object that is gone.
    Refused,
    /// It did not answer, or not now.
    Failed,
}

impl WriteOutcome {
    const LABELS: [&'static str; 4] = ["ok", "conflict", "refused", "failed"];
}

/// What writing to the cluster counts. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct StatusMetrics {
    writes: [[Counter; WriteOutcome::LABELS.len()]; Written::LABELS.len()],
    /// 1 while this agent leads.
    pub leader: Gauge,
    /// The newest generation of the history, as the leader knows it.
    pub generation: Gauge,
    /// Members whose rows are not those of most others, as the leader knows it.
    pub diverging: Gauge,
    /// Objects whose addresses are yet to be written.
    pub pending: Gauge,
}

impl StatusMetrics {
    /// Registers all of them.
    pub fn new(registry: &mut Registry) -> Self {
        let writes = Family::<Labels, Counter>::default();
        let help = "Requests that change the cluster, by what they write and how they ended";
        registry.register("lb_status_writes", help, writes.clone());
        Self {
            writes: Written::LABELS.map(|kind| {
                let resolve =
                    |outcome| writes.get_or_create_owned(&vec![("kind", kind), ("outcome", outcome)]);
                WriteOutcome::LABELS.map(resolve)
            }),
            leader: gauge(registry, "lb_status_leader", "1 on the agent that leads, else 0"),
            generation: gauge(
                registry,
                "lb_status_membership_generation",
                "The newest generation of memberships; 0 where the agent does not lead",
            ),
            diverging: gauge(
                registry,
                "lb_status_diverging_members",
                "Members whose rows differ from those of most others; 0 where the agent does not lead",
            ),
            pending: gauge(
                registry,
                "lb_status_pending_objects",
                "Objects whose addresses are yet to be written",
            ),
        }
    }

    /// A request that changes the cluster, and its end.
    pub fn write(&self, what: Written, outcome: WriteOutcome) {
        self.writes[what as usize][outcome as usize].inc();
    }
}
