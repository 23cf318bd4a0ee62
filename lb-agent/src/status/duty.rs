//! The leader's first duty: to hear the agents and to write the history of memberships.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::agents::Agents;
use super::error::{Remedy, StatusError, write};
use super::history::History;
use super::lease::NodeLease;
use super::membership::{Sight, Since};
use super::pace::backoff;
use super::progress::progress;
use super::{Told, membership, names};
use crate::metrics::{StatusMetrics, Written};
use crate::model::{Cause, EdgeNode, Kind, ObjectRef, Problem};

/// Time alone changes things, too: Leases run out, Nodes get labels.
const LOOK: Duration = Duration::from_millis(500);

/// A Lease is deleted after so many more periods of silence, if its Node is gone.
const FORGET: u32 = 5;

/// What writes the history while this process leads.
pub(super) struct Duty<'a> {
    pub(super) leases: Api<Lease>,
    pub(super) history: History,
    pub(super) period: Duration,
    pub(super) patience: Duration,
    /// Flows hold up a change for as long.
    pub(super) deadline: Duration,
    pub(super) since: Since,
    pub(super) edge_nodes: watch::Receiver<Option<Vec<EdgeNode>>>,
    /// Until when this process leads.
    pub(super) until: watch::Receiver<Option<Instant>>,
    /// What is wrong with members, for whoever tells it.
    pub(super) told: &'a watch::Sender<Told>,
    /// The members in the history as it was written or found, by name.
    pub(super) members: &'a watch::Sender<BTreeSet<String>>,
    pub(super) metrics: StatusMetrics,
    /// Whether it was said that the history cannot be written.
    pub(super) is_failing: bool,
    /// Whether the watch of Leases cannot be made; it is told once.
    pub(super) is_deaf: bool,
}

/// The history could be written, or that is tried again.
enum Heard {
    Something,
    Nothing,
    /// The watch must be made anew.
    Broken(Option<watcher::Error>),
}

impl Duty<'_> {
    /// Does it, for as long as it is polled.
    pub(super) async fn run(mut self) -> Infallible {
        let mut agents = Agents::new(self.period, Instant::now());
        let mut failures = 0;
        loop {
            let config = watcher::Config::default().labels(names::NODE_LABEL);
            let events = watcher(self.leases.clone(), config);
            let was_heard = self.follow(&mut agents, Box::pin(events)).await;
            failures = if was_heard { 1 } else { failures + 1 };
            // Agents are quick to renew after an outage: the leader has to hear them soon.
            sleep(backoff(failures).min(self.period / 6)).await;
        }
    }

    /// Follows one watch to its end; says whether it ever came into being.
    async fn follow(
        &mut self,
        agents: &mut Agents,
        mut events: impl Stream<Item = watcher::Result<Event<Lease>>> + Unpin,
    ) -> bool {
        let mut found = Found::Listing(Vec::new());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => {
                    let mut event = Some(event);
                    while let Some(next) = event {
                        if let Heard::Broken(error) = found.hear(agents, next) {
                            self.tell_broken(error, found.is_complete());
                            return found.is_complete();
                        }
                        event = events.next().now_or_never();
                    }
                }
                _ = look.tick() => {}
            }
            if !found.is_complete() {
                continue;
            }
            if agents.silence(Instant::now()) > self.period * 2 {
                debug!("the watch of Leases is silent: it is made anew");
                return true;
            }
            let done = match self.decide(agents).await {
                Ok(()) => self.clean_up(agents).await,
                error => error,
            };
            match done {
                Ok(()) => self.is_failing = false,
                Err(error) if error.remedy() == Remedy::LookAgain => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        warn!(%error, "the history of memberships is not written: it is tried again");
                    }
                    sleep(self.period / 6).await;
                }
            }
        }
    }

    /// That a watch broke is nothing to tell; that it cannot be made is, once.
    fn tell_broken(&mut self, error: Option<watcher::Error>, was_heard: bool) {
        let is_told = self.is_deaf;
        self.is_deaf = !was_heard && (is_told || error.is_some());
        match error {
            None => {}
            Some(error) if was_heard || is_told => debug!(%error, "the watch of Leases broke"),
            Some(error) => warn!(%error, "the agents' Leases cannot be watched: it is tried again"),
        }
    }

    async fn decide(&mut self, agents: &Agents) -> Result<(), StatusError> {
        let Some(nodes) = self.edge_nodes.borrow().clone() else { return Ok(()) };
        self.history.refresh().await?;
        let now = Instant::now();
        self.since.observe(self.history.spec(), now);
        let given = membership::given_keys(self.history.spec(), agents, now);
        self.since.observe_keys(&given, now);
        let sight = Sight {
            agents,
            nodes: &nodes,
            since: &self.since,
            deadline: self.deadline,
            keeps_keys: self.history.keeps_keys(),
            now,
        };
        let next = membership::next(self.history.spec(), &sight);
        let history = next.history.as_ref().unwrap_or_else(|| self.history.spec());
        if history.generations.is_empty() {
            return Ok(());
        }
        let status = progress(history, &sight, next.waiting);
        self.tell(&nodes, next.problems, &status.diverging);
        self.metrics.generation.set(status.generation.cast_signed());
        self.metrics.diverging.set(status.diverging.len() as i64);
        // The last moment: another may have taken over while this process slept.
        if self.until.borrow().is_none_or(|until| until <= Instant::now()) {
            return Ok(());
        }
        self.history.write(next.history, status).await?;
        let newest = self.history.spec().generations.last();
        let members =
            newest.iter().flat_map(|newest| newest.members.iter().map(|member| member.name.clone()));
        let members = members.collect();
        self.members.send_if_modified(|before| std::mem::replace(before, members) != *before);
        Ok(())
    }

    /// Deletes Leases that nobody will renew: those of Nodes that are edge nodes no more, and silent for long. One that
    /// comes back writes a new one.
    async fn clean_up(&self, agents: &mut Agents) -> Result<(), StatusError> {
        let now = Instant::now();
        let nodes = self.edge_nodes.borrow().clone();
        let Some(nodes) = nodes.filter(|_| agents.is_in_contact(now)) else { return Ok(()) };
        let generations = &self.history.spec().generations;
        let is_named =
            |name: &str| generations.iter().flat_map(|g| &g.members).any(|member| member.name == name);
        let is_edge = |name: &str| nodes.iter().any(|node| node.name == name);
        let silent = agents.silent_for(self.period * FORGET, now);
        let gone: Vec<_> =
            silent.filter(|name| !is_named(name) && !is_edge(name)).map(str::to_owned).collect();
        for node in gone {
            let lease = names::node_lease(&node);
            let params = DeleteParams::default();
            let request = self.leases.delete(&lease, &params);
            match write(Written::Lease, &self.metrics, self.patience, request).await {
                Ok(_) => info!(node, lease, "the Lease of a node that is gone is deleted"),
                Err(error) if error.remedy() == Remedy::Missing => {}
                Err(error) => return Err(error),
            }
            agents.forget(&node, now);
        }
        Ok(())
    }

    fn tell(&self, nodes: &[EdgeNode], mut problems: Vec<Problem>, diverging: &[String]) {
        for name in diverging {
            let node = ObjectRef::new(Kind::Node, "", name);
            problems.push(Problem::error(&node, "", DIVERGES).because(Cause::Diverging));
        }
        let history = self.history.nonsense().map(|(problem, uid)| (problem.clone(), uid.to_owned()));
        let about: BTreeSet<_> = problems.iter().filter_map(|problem| problem.object.clone()).collect();
        let uid = |object: ObjectRef| {
            let node = nodes.iter().find(|node| node.name == object.name)?;
            Some((object, node.uid.clone()))
        };
        let mut told = Told { problems, uids: about.into_iter().filter_map(uid).collect() };
        if let Some((problem, uid)) = history {
            told.uids.extend(problem.object.clone().map(|object| (object, uid)));
            told.problems.push(problem);
        }
        self.told.send_if_modified(|before| {
            let is_new = *before != told;
            if is_new {
                for problem in &told.problems {
                    warn!(%problem, "membership");
                }
                *before = told;
            }
            is_new
        });
    }
}

/// What a person can do about it.
const DIVERGES: &str = "the node's table of members differs from that of most other nodes, though it has the same \
     generation: connections may break. Compare the versions of the agents, and report it";

/// What a watch has brought so far.
enum Found {
    Listing(Vec<NodeLease>),
    Following,
}

impl Found {
    fn is_complete(&self) -> bool {
        matches!(self, Self::Following)
    }

    fn hear(&mut self, agents: &mut Agents, event: Option<watcher::Result<Event<Lease>>>) -> Heard {
        let now = Instant::now();
        match event {
            None => return Heard::Broken(None),
            Some(Err(error)) => return Heard::Broken(Some(error)),
            Some(Ok(Event::Init)) => *self = Self::Listing(Vec::new()),
            Some(Ok(Event::InitApply(lease))) => {
                if let Self::Listing(leases) = self {
                    leases.extend(NodeLease::read(&lease));
                }
            }
            Some(Ok(Event::InitDone)) => {
                if let Self::Listing(leases) = std::mem::replace(self, Self::Following) {
                    agents.reset(leases, now);
                }
            }
            Some(Ok(Event::Apply(lease))) => {
                if let Some(lease) = NodeLease::read(&lease) {
                    agents.apply(lease, now);
                    return Heard::Something;
                }
            }
            // It may come again; if not, it runs out.
            Some(Ok(Event::Delete(lease))) => {
                if let Some(lease) = NodeLease::read(&lease) {
                    agents.forget(&lease.node, now);
                }
            }
        }
        Heard::Nothing
    }
}
