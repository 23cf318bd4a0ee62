//! The drain as the app runs it: the cluster hears of it first; once new flows open elsewhere, connections end in
//! order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::service;
use super::signals::StopSignals;
use super::yielding::Yielding;
use crate::admin::Live;
use crate::cli::{DEFAULT_GRACE, Run};
use crate::l4;
use crate::l7::Proxy;
use crate::model::{DrainProgress, Draining, History, LAST_WORDS, Left, Snapshot, Turn};

type Histories = watch::Receiver<History>;
type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// How often progress is told.
const TELLING: Duration = Duration::from_millis(200);

/// How long connections may take to end when the agent is told to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// Those of the agent that serves the node: it drains, and somebody waits for its end.
    serving: Duration,
    /// Those of one that has been followed: it is in nobody's way, so they may take as long as they hold up a change of
    /// the members.
    followed: Duration,
}

impl Grace {
    pub(super) fn new(run: &Run) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let told = run.grace.map(u32::from);
        Self {
            serving: seconds(told.unwrap_or(DEFAULT_GRACE.into())),
            followed: seconds(run.grace_followed.map(u32::from).or(told).unwrap_or(run.drain_deadline)),
        }
    }

    /// That of an agent in its turn.
    pub(super) fn of(self, turn: Turn) -> Duration {
        if turn == Turn::Holding { self.serving } else { self.followed }
    }
}

/// Who was told to drain, and how it goes.
pub(super) struct Drain {
    node: String,
    snapshots: Snapshots,
    told: watch::Sender<Option<Draining>>,
    /// Whether the node has given its new flows up by itself, as the cluster cannot be told.
    yielded: watch::Sender<bool>,
    progress: watch::Sender<DrainProgress>,
}

impl Drain {
    pub(super) fn new(node: &str, snapshots: Snapshots) -> Self {
        Self {
            node: node.to_owned(),
            snapshots,
            told: watch::Sender::default(),
            yielded: watch::Sender::default(),
            progress: watch::Sender::default(),
        }
    }

    /// By which it is told, and called off.
    pub(super) fn told(&self) -> watch::Sender<Option<Draining>> {
        self.told.clone()
    }

    /// Whether the node opens no flows, whatever the members have agreed.
    pub(super) fn yielded(&self) -> watch::Receiver<bool> {
        self.yielded.subscribe()
    }

    /// How it goes.
    pub(super) fn progress(&self) -> watch::Receiver<DrainProgress> {
        self.progress.subscribe()
    }

    /// Carries out what is told, and what the Node says.
    pub(super) async fn run(&self, proxy: &Proxy, live: &Live) -> Infallible {
        tokio::select! {
            never = self.obey(proxy, live.history.as_ref()) => never,
            never = self.follow_node() => never,
            never = self.may_yield(live) => never,
        }
    }

    /// With a folder, and without a packet path, there is nobody who would have to be told.
    async fn may_yield(&self, live: &Live) -> Infallible {
        let (Some(history), Some(following)) = (live.history.clone(), live.following.clone()) else {
            return std::future::pending().await;
        };
        let (Some(down), Some(heard)) = (live.down.clone(), live.heard.clone()) else {
            return std::future::pending().await;
        };
        let (node, told) = (self.node.clone(), self.told.subscribe());
        Yielding { node, told, history, following, down, heard }.follow(&self.yielded).await
    }

    /// A cordon or a taint is told as an operator tells it, and called off with it.
    async fn follow_node(&self) -> Infallible {
        let mut snapshots = self.snapshots.clone();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let says = snapshot.and_then(|snapshot| snapshot.drains.get(&self.node).copied());
            self.told.send_if_modified(|told| {
                let before = std::mem::replace(told, Draining::beside_node(*told, says));
                before != *told
            });
            if snapshots.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    async fn obey(&self, proxy: &Proxy, history: Option<&Histories>) -> Infallible {
        let mut told = self.told.subscribe();
        loop {
            let now = *told.borrow_and_update();
            let work = async {
                match now {
                    Some(draining) => self.carry_out(draining, proxy, history.cloned()).await,
                    None => self.serve(proxy).await,
                }
            };
            tokio::select! {
                never = work => match never {},
                Ok(()) = told.changed() => {}
            }
        }
    }

    async fn serve(&self, proxy: &Proxy) -> Infallible {
        if self.progress.send_replace(DrainProgress::default()).of.is_some() {
            info!("the drain is called off");
            proxy.serve();
        }
        std::future::pending().await
    }

    async fn carry_out(&self, draining: Draining, proxy: &Proxy, history: Option<Histories>) -> Infallible {
        info!("draining: this node is to own no new flows");
        let of = Some(draining);
        self.progress.send_replace(DrainProgress { of, ends_by: None, left: proxy.left() });
        let tell_left = async || {
            loop {
                let left = self.left(proxy).await;
                self.progress.send_modify(|progress| progress.left = left);
                sleep(TELLING).await;
            }
        };
        loop {
            let patience = if draining.stops() { draining.span() / 2 } else { Duration::MAX };
            tokio::select! {
                _ = timeout(patience, self.elsewhere(history.clone(), draining)) => {}
                () = tell_left() => {}
            }
            // However long that took, connections have their time.
            let deadline = draining.deadline.max(Instant::now() + draining.span() / 2);
            info!(connections = proxy.left().total(), "connections end in order");
            proxy.drain(deadline);
            let left = self.left(proxy).await;
            self.progress.send_modify(|progress| {
                (progress.ends_by, progress.left) = (Some(deadline), left);
            });
            tokio::select! {
                () = self.here_again(history.clone(), draining) => {}
                () = tell_left() => {}
            }
            info!("new flows open here again: no other node takes them");
            proxy.serve();
            self.progress.send_modify(|progress| progress.ends_by = None);
        }
    }

    /// The last bytes and the end of a connection are the kernel's, after the proxy has let go of it.
    async fn left(&self, proxy: &Proxy) -> Left {
        let left = proxy.left();
        if left.total() > 0 {
            return left;
        }
        let vips = self.snapshots.borrow().as_ref().map(|snapshot| snapshot.vips.clone()).unwrap_or_default();
        let at_kernel = spawn_blocking(move || l4::unfinished(&vips)).await;
        // A kernel that does not tell keeps nobody waiting.
        Left { at_kernel: at_kernel.ok().and_then(Result::ok).unwrap_or_default(), ..left }
    }

    /// Waits until new flows open here after all, for every other node drains, too. Who stops stays with its decision.
    async fn here_again(&self, history: Option<Histories>, draining: Draining) {
        let Some(mut history) = history.filter(|_| !draining.stops()) else {
            return std::future::pending().await;
        };
        let mut yielded = self.yielded();
        while *yielded.borrow_and_update() || !history.borrow_and_update().opens_at(&self.node) {
            tokio::select! {
                Ok(()) = history.changed() => {}
                Ok(()) = yielded.changed() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Waits until new flows open at other nodes. If there are none, the last one that stops has nobody to wait for;
    /// one that does not stop serves on. Without a packet path, nobody sends flows here but clients themselves.
    async fn elsewhere(&self, history: Option<Histories>, draining: Draining) {
        let Some(mut history) = history else { return };
        let is_so = |history: &History| {
            let is_last = draining.stops() && !history.opens_beside(&self.node);
            is_last || !history.opens_at(&self.node)
        };
        let mut yielded = self.yielded();
        tokio::select! {
            Ok(_) = history.wait_for(is_so) => {}
            Ok(_) = yielded.wait_for(|yielded| *yielded) => {}
            else => std::future::pending().await,
        }
    }

    /// Runs until the process is told to stop; then, if it is this agent that serves the node and none comes after it,
    /// until connections have ended, within the grace. Says how long those may take that are left: who is told twice is
    /// to stop at once.
    pub(super) async fn until_told_to_stop(
        &self,
        signals: &mut StopSignals,
        mut turn: watch::Receiver<Turn>,
        grace: Grace,
    ) -> Duration {
        signals.told().await;
        let now = *turn.borrow();
        if now == Turn::Holding {
            service::stops();
            self.told.send_replace(Some(Draining::stop_within(grace.of(now))));
            tokio::select! {
                // Those that came at the last moment are to be answered.
                () = self.ended() => return LAST_WORDS,
                () = signals.told() => return Duration::ZERO,
                Ok(_) = turn.wait_for(|turn| *turn != Turn::Holding) => {}
            }
        }
        let now = *turn.borrow();
        let grace = grace.of(now);
        if now == Turn::After {
            let seconds = grace.as_secs();
            info!(
                seconds,
                "another agent has the packet path: connections of this one may take so long to end"
            );
        }
        grace
    }

    /// Waits until connections have ended, by themselves or at the deadline.
    async fn ended(&self) {
        let mut progress = self.progress.subscribe();
        let drained = progress.wait_for(DrainProgress::is_complete);
        if drained.await.is_ok() {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn an_update_cuts_no_stream_unless_somebody_says_when() {
        let check = |flags: &[&str], serving, followed| {
            let line = ["lb-agent", "run", "--manifests", "m", "--no-xdp", "--http", "127.0.0.1:80"];
            let Command::Run(run) = Cli::parse_from([&line[..], flags].concat()).command else {
                panic!("{flags:?}")
            };
            let grace = Grace::new(&run);
            let seconds = [Turn::Holding, Turn::After].map(|turn| grace.of(turn).as_secs());
            assert_eq!(seconds, [serving, followed], "{flags:?}");
        };
        check(&[], 10, 3600);
        check(&["--drain-deadline", "600"], 10, 600);
        check(&["--grace", "110"], 110, 110);
        check(&["--grace", "0"], 0, 0);
        check(&["--grace", "110", "--grace-followed", "3600"], 110, 3600);
        check(&["--grace-followed", "60"], 10, 60);
    }
}
