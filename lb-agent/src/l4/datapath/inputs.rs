//! What the packet path is started with, what it follows and what it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_common::row::MemberId;
use tokio::sync::{Mutex, mpsc, watch};

use super::super::capture::Order;
use super::super::keys::Keys;
use super::super::liveness::Missed;
use super::super::pins::Pins;
use super::super::wanted::Local;
use crate::model::{Draining, Heard, History, Holdings, Loaded, Roll, Snapshot};

/// What the packet path is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What this node adds to snapshots.
    pub local: Local,
    /// Interfaces whose packets are taken.
    pub interfaces: Vec<String>,
    /// Where maps and links are pinned.
    pub pins: Pins,
    /// Where this node keeps who was away and, if nobody writes a history for all, who was a member.
    pub history: Option<PathBuf>,
    /// Whether rows have nobody but their openers: plain consistent hashing, to compare with.
    pub openers_only: bool,
    /// So long flows may hold up a change of such members.
    pub drain_deadline: Duration,
}

/// What the packet path follows.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// State; none before the first.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The flow keys to go by.
    pub keys: watch::Receiver<Keys>,
    /// What the other key is there for, where nobody writes a history for all.
    pub roll: watch::Receiver<Option<Roll>>,
    /// Members that do not answer this node.
    pub down: watch::Receiver<BTreeSet<MemberId>>,
    /// Whether this node is cut off from all others.
    pub alone: watch::Receiver<bool>,
    /// When it was noticed that the packet path went without this agent, until rows lead to what others opened meanwhile.
    pub missed: watch::Receiver<Option<Duration>>,
    /// What other members say of themselves; nothing of those that were never heard.
    pub heard: watch::Receiver<BTreeMap<MemberId, Heard>>,
    /// Whether it is known of each member whether it answers.
    pub judged: watch::Receiver<bool>,
    /// Whether this node drains.
    pub draining: watch::Receiver<Option<Draining>>,
    /// Captures that somebody wants, one after the other.
    pub captures: Arc<Mutex<mpsc::Receiver<Order>>>,
}

/// What the packet path tells.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// What is in the kernel.
    pub live: watch::Sender<Loaded>,
    /// What rows are made of.
    pub history: watch::Sender<History>,
    /// The connections that are on this node; none while they are not known.
    pub holdings: watch::Sender<Option<Holdings>>,
    /// Interfaces by which no packets come in any more, each with why.
    pub gone: watch::Sender<BTreeMap<String, String>>,
    /// Told when rows lead there.
    pub missed: Missed,
}
