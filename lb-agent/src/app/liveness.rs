//! The prober as a part of the agent: fed from what is in the kernel.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Snapshots;
use crate::beat::{Beat, Beats};
use crate::l4::keys::Keys;
use crate::l4::liveness::{self, Cluster, Inputs, Outlook, Probing, Question, Roster};
use crate::l4::pins::Pins;
use crate::model::{Draining, History, Loaded, Snapshot};

/// The runtime of source, packet path and admin: it may be busy with a large state for a while.
const STUCK: Duration = Duration::from_secs(5);
const BEAT: Duration = Duration::from_millis(500);

/// What others tell it from its start on: as `Inputs` has it.
pub(super) struct Told {
    pub(super) keys: watch::Receiver<Keys>,
    pub(super) holds: watch::Receiver<bool>,
    pub(super) yielded: watch::Receiver<bool>,
    pub(super) beats: Beats,
    pub(super) questions: UnboundedReceiver<Question>,
    pub(super) pins: Pins,
}

/// A prober that runs, and what it is told.
pub(super) struct Liveness {
    roster: watch::Sender<Option<Roster>>,
    said: watch::Sender<lb_common::probe::Said>,
    beat: Beat,
    outlook: Outlook,
    _probing: Probing,
}

impl Liveness {
    /// Starts it: it asks and answers as soon as there is a roster, while `holds` says so.
    pub(super) fn start(cluster: Cluster, told: Told, outlook: Outlook) -> Result<Self> {
        let Told { keys, holds, yielded, beats, questions, pins } = told;
        let (roster, said) = (watch::Sender::new(None), watch::Sender::default());
        let beat = beats.watch("control", STUCK);
        let (follows, says) = (roster.subscribe(), said.subscribe());
        let inputs = Inputs { keys, roster: follows, said: says, holds, yielded, questions, beats, pins };
        let probing = liveness::start(cluster, inputs, outlook.clone())?;
        Ok(Self { roster, said, beat, outlook, _probing: probing })
    }

    /// Feeds it for as long as it is polled.
    pub(super) async fn feed(
        self,
        node: String,
        mut snapshots: Snapshots,
        mut history: watch::Receiver<History>,
        mut live: watch::Receiver<Loaded>,
        mut draining: watch::Receiver<Option<Draining>>,
        uplinks: Vec<String>,
    ) -> Result<()> {
        let (outlook, roster) = (self.outlook.clone(), self.roster.subscribe());
        let follow = async {
            loop {
                let drains = draining.borrow_and_update().is_some();
                let known = known(&history.borrow_and_update(), snapshots.borrow_and_update().as_deref());
                self.tell(&node, &known, *live.borrow_and_update(), drains);
                tokio::select! {
                    Ok(()) = snapshots.changed() => {}
                    Ok(()) = history.changed() => {}
                    Ok(()) = draining.changed() => {}
                    Ok(()) = live.changed() => {}
                    else => std::future::pending::<()>().await,
                }
            }
        };
        tokio::select! {
            () = follow => Ok(()),
            () = beat(&self.beat) => Ok(()),
            result = liveness::watch_alone(&outlook, roster, uplinks) => Ok(result?),
        }
    }

    fn tell(&self, node: &str, history: &History, loaded: Loaded, drains: bool) {
        let roster = Roster::of(history, node);
        self.roster.send_if_modified(|before| std::mem::replace(before, roster.clone()) != roster);
        self.said.send_replace(liveness::said(loaded, drains));
    }
}

/// Until rows are made, the members of now: an agent that takes over answers others before it has loaded anything.
fn known(history: &History, snapshot: Option<&Snapshot>) -> History {
    match snapshot {
        Some(snapshot) if history.agreed.is_empty() => {
            History { agreed: snapshot.generations.clone(), ..History::default() }
        }
        _ => history.clone(),
    }
}

async fn beat(beat: &Beat) {
    let mut interval = interval(BEAT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        beat.touch();
    }
}
