//! The cluster source at work: takes the watches' news, builds, keeps the stored state, answers questions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::build::{Builder, utc};
use super::conditions::Conditions;
use super::feed::{Feed, FlowSecret, Message, News};
use super::keep::Keeper;
use super::settle::Settle;
use super::state::{State, Wish};
use super::stored::Stored;
use super::watches::Watches;
use super::{Connect, Handle, Options};
use crate::model::{Basis, Condition, EdgeNode, Following, Kind, Report, Snapshot, Turn};
use crate::source::Settings;
use crate::source::publish::Publisher;
use crate::source::resolver::Resolver;
use crate::source::translate::edge_nodes;

/// News on their way; a watch that is faster waits.
const NEWS: usize = 1024;

/// Taken at once, before anything else is looked at.
const BATCH: usize = 256;

/// The API server has this long to tell everything, before a start goes on with what was stored. When it does not
/// answer at all, a start does not wait.
const PATIENCE: Duration = Duration::from_secs(1);

type Snapshots = watch::Sender<Option<Arc<Snapshot>>>;

/// A source, ready to run.
pub struct Source {
    connect: Connect,
    options: Options,
    settings: Settings,
    snapshots: Snapshots,
    following: watch::Sender<Following>,
    keys: watch::Sender<Option<FlowSecret>>,
    edge_nodes: watch::Sender<Option<Vec<EdgeNode>>>,
    reports: Receiver<oneshot::Sender<Report>>,
}

/// The cluster that `connect` leads to, as the source of `snapshots`, and what others learn of it.
#[must_use]
pub fn source(
    connect: Connect,
    options: Options,
    settings: Settings,
    snapshots: Snapshots,
) -> (Source, Handle) {
    let (following, following_of) = watch::channel(Following::default());
    let (keys, keys_of) = watch::channel(None);
    let (edge_nodes, edge_nodes_of) = watch::channel(None);
    let (ask, reports) = mpsc::channel(1);
    let source = Source { connect, options, settings, snapshots, following, keys, edge_nodes, reports };
    let handle = Handle { following: following_of, keys: keys_of, edge_nodes: edge_nodes_of, reports: ask };
    (source, handle)
}

impl Source {
    /// Follows the cluster: publishes its state once all of it was read, and then whenever it changes. While the
    /// API server is away the last state stays, or the stored one. Ends when nobody listens any more.
    ///
    /// Of a node's agents only the one whose `turn` it is stores its state: the others' files would be older.
    ///
    /// # Errors
    /// If no client can be made, which has nothing to do with the API server.
    pub async fn run(self, mut turn: watch::Receiver<Turn>) -> Result<(), kube::Error> {
        let Self { connect, options, settings, snapshots, following, keys, edge_nodes, mut reports } = self;
        let (tell, mut news) = mpsc::channel(NEWS);
        let state = State::new(options.secrets, settings.clone());
        let keeper = Keeper::new(&options.folder, &options.node);
        let mut core = Core {
            watches: Watches::start(connect, options.namespace, tell)?,
            conditions: Conditions::new(State::feeds()),
            builder: Builder::new(state, settings, Publisher::new(snapshots.clone())),
            settle: Settle::default(),
            given_up: Some(Instant::now() + PATIENCE),
            hopeless: None,
            is_foreign: false,
            following,
            keys,
            edge_nodes,
        };
        let mut stored = keeper.load();
        let mut keeper = keeper;
        let mut resolver = Resolver::new();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let may_store = *turn.borrow_and_update() == Turn::Holding;
            tokio::select! {
                _ = news.recv_many(&mut batch, BATCH) => core.take(&mut batch),
                found = &mut stored.found, if !stored.is_done => {
                    stored.is_done = true;
                    core.take_stored(found.ok().flatten());
                }
                () = until(core.due()) => {
                    core = core.build().await;
                    resolver.want(&core.builder.external_names());
                    if core.builder.basis == Basis::Cluster {
                        keeper.touch();
                    }
                }
                () = resolver.changed() => core.builder.take_answers(resolver.answers()),
                () = until(keeper.due()), if may_store => keeper.write(&core.builder.state),
                () = keeper.written() => {}
                // A sender that is gone changes nothing.
                Ok(()) = turn.changed() => {}
                Some(ask) = reports.recv() => {
                    // Whoever asked may be gone.
                    let _ = ask.send(core.builder.report());
                }
                () = snapshots.closed() => return Ok(()),
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What the source holds between two events.
struct Core {
    watches: Watches,
    conditions: Conditions,
    builder: Builder,
    settle: Settle,
    /// When to go on with what was stored; `None` once that is decided.
    given_up: Option<Instant>,
    /// Whether something failed at the start, and if so, whether because nobody answers.
    hopeless: Option<bool>,
    /// Whether it was told that what is in use is of another cluster.
    is_foreign: bool,
    following: watch::Sender<Following>,
    keys: watch::Sender<Option<FlowSecret>>,
    edge_nodes: watch::Sender<Option<Vec<EdgeNode>>>,
}

impl Core {
    /// When the next build is due.
    fn due(&self) -> Option<Instant> {
        if !self.builder.state.is_complete() {
            let stored = self.builder.stored.as_ref();
            return stored.and_then(|_| self.given_up.or_else(|| self.builder.due()));
        }
        let changed = self.settle.due(self.builder.state.is_settled());
        match self.builder.basis {
            // The first complete state waits for nothing but the burst that it comes in.
            Basis::Cluster => changed.into_iter().chain(self.builder.due()).min(),
            _ => changed,
        }
    }

    async fn build(mut self) -> Self {
        self.settle.clear();
        let before = self.builder.basis;
        self.builder = self.builder.build().await;
        if self.builder.basis != Basis::Nothing {
            self.given_up = None;
        }
        self.take_key();
        if let Basis::Stored(written) = self.builder.basis
            && before == Basis::Nothing
        {
            warn!(
                stored = utc(written),
                "the API server has not told everything yet: starting from the stored snapshot"
            );
        }
        if self.builder.basis == Basis::Cluster && before != Basis::Cluster {
            info!(cluster = self.builder.state.cluster, "all objects of the cluster have been read");
        }
        self.tell_edge_nodes();
        self.show();
        self
    }

    /// Those of the cluster, never of what was stored.
    fn tell_edge_nodes(&self) {
        if self.builder.basis == Basis::Cluster {
            let found = Some(edge_nodes(&self.builder.state.index));
            self.edge_nodes.send_if_modified(|held| {
                let is_new = *held != found;
                *held = found;
                is_new
            });
        }
    }

    fn take(&mut self, batch: &mut Vec<Message>) {
        let mut is_shown = false;
        for message in batch.drain(..) {
            is_shown |= self.take_one(message);
        }
        for wish in self.builder.state.wishes() {
            self.fulfil(wish);
        }
        self.take_key();
        self.take_cluster();
        self.give_up();
        if is_shown {
            self.show();
        }
    }

    /// Says whether there is something new to show.
    fn take_one(&mut self, Message { feed, news }: Message) -> bool {
        let state = &mut self.builder.state;
        let (changed, shown) = match news {
            News::Event(event) => (state.take(&feed, event), false),
            News::Current => (state.take_current(&feed), self.conditions.current(&feed)),
            News::Failed(failure) => {
                let changed = match failure.condition {
                    Condition::Missing => state.take_missing(&feed),
                    condition => {
                        self.hopeless = self.hopeless.max(Some(condition == Condition::Unreachable));
                        state.take_failure(&feed, &failure.message)
                    }
                };
                self.conditions.failed(&feed, &failure);
                (changed, true)
            }
            News::Read { secret, ticket, answer, failures } => {
                let failed = answer.is_err();
                let changed = state.take_read(&secret, ticket, answer);
                if failed && state.is_asked(&secret, ticket) {
                    self.watches.read_secret(secret, ticket, failures + 1);
                }
                (changed, false)
            }
        };
        if changed {
            self.settle.touch(Instant::now());
        }
        shown
    }

    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::WatchAll => {
                self.watches.start_secrets();
                self.conditions.begin(&Feed::Kind(Kind::Secret));
            }
            Wish::Watch(secret) => {
                self.watches.start_secret(&secret);
                self.conditions.begin(&Feed::Secret(secret));
            }
            Wish::Unwatch(secret) => {
                self.watches.stop_secret(&secret);
                self.conditions.forget(&Feed::Secret(secret));
            }
            Wish::Read { secret, ticket } => self.watches.read_secret(secret, ticket, 0),
        }
    }

    fn take_key(&mut self) {
        let stored = self.builder.stored.as_ref().filter(|_| self.builder.basis != Basis::Nothing);
        let stored = stored.and_then(|stored| stored.flow_key.as_ref());
        let Some(key) = self.builder.state.flow_key.as_ref().or(stored) else { return };
        let is_new = |held: &mut Option<FlowSecret>| {
            let is_new = held.as_ref() != Some(key);
            if is_new {
                *held = Some(key.clone());
            }
            is_new
        };
        self.keys.send_if_modified(is_new);
    }

    /// Waiting brings nothing where nobody answers, or where something is refused. A server that answers is asked which
    /// cluster it is before what was stored is used.
    fn give_up(&mut self) {
        let is_over = self.hopeless.is_some_and(|nobody| nobody || self.builder.state.cluster.is_some());
        if is_over {
            self.given_up = self.given_up.map(|due| due.min(Instant::now()));
        }
    }

    /// The stored state is of use only to the cluster that it was read from.
    fn take_cluster(&mut self) {
        let (Some(cluster), Some(stored)) = (&self.builder.state.cluster, &self.builder.stored) else {
            return;
        };
        if stored.cluster == *cluster {
            return;
        }
        if self.builder.basis == Basis::Nothing {
            warn!(stored = stored.cluster, %cluster, "the stored snapshot is of another cluster: not used");
            self.builder.stored = None;
        } else if !self.is_foreign {
            warn!(
                stored = stored.cluster,
                %cluster,
                "the stored snapshot that is in use is of another cluster: it stays until this one is read"
            );
            self.is_foreign = true;
        }
    }

    fn take_stored(&mut self, found: Option<Stored>) {
        if self.builder.basis == Basis::Cluster {
            return;
        }
        self.builder.stored = found;
        self.take_cluster();
    }

    fn show(&self) {
        self.following.send_replace(Following {
            basis: self.builder.basis,
            watches: self.conditions.watches().to_vec(),
            has_flow_key: self.keys.borrow().is_some(),
        });
    }
}
