//! The packet path as a part of the agent: begun once its key is known, which in a cluster may take
//! a while, in this agent's turn among those of its node.

mod counters;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::row::MemberId;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tracing::info;

pub(super) use self::counters::counters;
use super::Snapshots;
use super::drain::Drain;
use super::flow_key::{Given, Others, Ring};
use super::kept_drain::KeptDrain;
use super::liveness::{Liveness, Told};
use crate::admin;
use crate::admin::capture::{Arm, Armed};
use crate::beat::Beats;
use crate::cli::Run;
use crate::l4::capture::{Capture, Order};
use crate::l4::keys::Keys;
use crate::l4::liveness::{Cluster, Outlook, Question};
use crate::l4::pins::Pins;
use crate::l4::roll_over::RollOver;
use crate::l4::{self, KeptKey, Uplink};
use crate::l7::Proxy;
use crate::model::{CaptureFilter, Draining, FlowKeys, Heard, History, Holdings, Loaded, Peers, Roll, Turn};

/// Where agents of a node ask each other for the packet path, in their state folder.
pub(super) const HAND_OVER: &str = "handover.sock";

/// Where a node keeps who was away, and without a cluster who was a member, in its state folder.
pub(super) const HISTORY: &str = "memberships.json";

/// Where the flow key in force is kept for the next agent, in the same folder.
pub(super) const FLOW_KEY: &str = "flow-key";

/// What is known of the packet path before it begins.
pub(super) struct PacketPath {
    options: PathOptions,
    uplinks: Vec<Uplink>,
    attachments: watch::Sender<Vec<admin::Attachment>>,
    live: watch::Sender<Loaded>,
    history: watch::Sender<History>,
    holdings: watch::Sender<Option<Holdings>>,
    gone: watch::Sender<BTreeMap<String, String>>,
    keys: watch::Sender<FlowKeys>,
    draining: watch::Sender<Option<Draining>>,
    yielded: watch::Receiver<bool>,
    turn: watch::Sender<Turn>,
    outlook: Outlook,
    ask: mpsc::UnboundedSender<Question>,
    questions: Option<mpsc::UnboundedReceiver<Question>>,
    beats: Beats,
    orders: mpsc::Sender<Order>,
    /// For who holds the packet path.
    captures: Arc<Mutex<mpsc::Receiver<Order>>>,
}

/// The keys to go by, and what the other one is there for.
type Rolling = (watch::Receiver<Keys>, watch::Receiver<Option<Roll>>);

/// `l4::Options` without the key.
struct PathOptions {
    node: String,
    cluster: u32,
    port: u16,
    pins: Pins,
    kept: KeptKey,
    drain: KeptDrain,
    history: Option<PathBuf>,
    openers_only: bool,
    drain_deadline: Duration,
    socket: PathBuf,
    may_take_over: bool,
}

/// Where packets for VIPs come in; nowhere without packet path.
pub(super) async fn uplinks(run: &Run) -> Result<Vec<Uplink>> {
    #[cfg(debug_assertions)]
    if let Some(file) = &run.other_program {
        l4::object::load_instead(file).with_context(|| format!("--other-program {}", file.display()))?;
    }
    let uplinks = if run.no_xdp { Vec::new() } else { l4::uplinks(&run.interface).await? };
    for Uplink { name, why, mtu } in &uplinks {
        info!(interface = name, why, mtu, "packets for VIPs come in here");
    }
    Ok(uplinks)
}

impl PacketPath {
    /// None with `--no-xdp`.
    pub(super) fn new(
        run: &Run,
        node: &str,
        uplinks: Vec<Uplink>,
        beats: Beats,
        drain: &Drain,
    ) -> Option<Self> {
        let options = PathOptions {
            node: node.to_owned(),
            cluster: run.cluster_id,
            port: run.encap_port,
            pins: pins(run),
            kept: KeptKey::new(pins(run), run.state.join(FLOW_KEY)),
            drain: KeptDrain::new(&run.state),
            history: Some(run.state.join(HISTORY)),
            openers_only: run.no_second_chance,
            drain_deadline: Duration::from_secs(run.drain_deadline.into()),
            socket: run.state.join(HAND_OVER),
            may_take_over: run.take_over,
        };
        let (ask, questions) = mpsc::unbounded_channel();
        let (orders, captures) = mpsc::channel(1);
        (!run.no_xdp).then(|| Self {
            options,
            uplinks,
            attachments: watch::Sender::default(),
            live: watch::Sender::default(),
            history: watch::Sender::default(),
            holdings: watch::Sender::default(),
            gone: watch::Sender::default(),
            keys: watch::Sender::default(),
            draining: drain.told(),
            yielded: drain.yielded(),
            turn: watch::Sender::default(),
            outlook: Outlook::default(),
            ask,
            questions: Some(questions),
            beats,
            orders,
            captures: Arc::new(Mutex::new(captures)),
        })
    }

    /// The interfaces with the packet path on them.
    pub(super) fn attachments(&self) -> watch::Receiver<Vec<admin::Attachment>> {
        self.attachments.subscribe()
    }

    /// What is in the kernel's maps.
    pub(super) fn live(&self) -> watch::Receiver<Loaded> {
        self.live.subscribe()
    }

    /// What its rows are made of.
    pub(super) fn history(&self) -> watch::Receiver<History> {
        self.history.subscribe()
    }

    /// The connections on this node.
    pub(super) fn holdings(&self) -> watch::Receiver<Option<Holdings>> {
        self.holdings.subscribe()
    }

    /// Interfaces by which no packets come in any more, each with why.
    pub(super) fn gone(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.gone.subscribe()
    }

    /// The node's flow keys, and the one that it was given.
    pub(super) fn keys(&self) -> watch::Receiver<FlowKeys> {
        self.keys.subscribe()
    }

    /// What other members say of themselves.
    pub(super) fn heard(&self) -> watch::Receiver<BTreeMap<MemberId, Heard>> {
        self.outlook.heard()
    }

    /// Whether the packet path is this agent's.
    pub(super) fn turn(&self) -> watch::Receiver<Turn> {
        self.turn.subscribe()
    }

    /// What is seen of the other members.
    pub(super) fn peers(&self) -> watch::Receiver<Peers> {
        self.outlook.peers()
    }

    /// Whether no member answers for this node's own fault.
    pub(super) fn alone(&self) -> watch::Receiver<bool> {
        self.outlook.alone()
    }

    /// The members that no new flows go to from here.
    pub(super) fn down(&self) -> watch::Receiver<BTreeSet<MemberId>> {
        self.outlook.down()
    }

    /// What is amiss with the gateways of a node that is not alone.
    pub(super) fn gateways(&self) -> watch::Receiver<Option<String>> {
        self.outlook.gateways()
    }

    /// When it was noticed that the kernel went without this agent, until rows lead to what others opened meanwhile.
    pub(super) fn missed(&self) -> watch::Receiver<Option<Duration>> {
        self.outlook.missed().noticed()
    }

    /// Asks all other members which of them has a connection.
    pub(super) fn ask_members(&self) -> admin::AskMembers {
        let ask = self.ask.clone();
        admin::AskMembers::new(move |client, vip| {
            let (answers, answered) = mpsc::unbounded_channel();
            // Without a prober nobody is asked, and the answers end at once.
            let _ = ask.send(Question { client, vip, answers });
            answered
        })
    }

    /// What has it look at packets.
    pub(super) fn arm(&self) -> Arm {
        let orders = self.orders.clone();
        Box::new(move |filter| Box::pin(armed(orders.clone(), filter)))
    }

    /// Waits for the key, begins, and follows the snapshots that the proxy serves. The agent before is asked for the
    /// packet path when all else is ready; the agent after gets it when it asks.
    pub(super) async fn run(
        mut self,
        given: Option<Given>,
        proxy: &Proxy,
        snapshots: Snapshots,
    ) -> Result<()> {
        let given = given.context("the packet path needs --hash-key-file FILE")?;
        let mut ring = Ring {
            given,
            kept: self.options.kept.clone(),
            snapshots: snapshots.clone(),
            turn: self.turn.subscribe(),
            told: self.keys.clone(),
            others: Others {
                node: self.options.node.clone(),
                history: self.history.subscribe(),
                heard: self.outlook.heard(),
                peers: self.outlook.peers(),
                loaded: self.live.subscribe(),
                deadline: self.options.drain_deadline,
            },
            rolls: RollOver::default(),
        };
        let keys = watch::Sender::new(ring.first().await?);
        let roll = watch::Sender::default();
        let rolling = (keys.subscribe(), roll.subscribe());
        let (_, nothing) = mpsc::unbounded_channel();
        let questions = self.questions.take().unwrap_or(nothing);
        let mut succession = self.succession(*keys.borrow());
        let cluster = Cluster { keys: *keys.borrow(), id: self.options.cluster, port: self.options.port };
        let names = self.uplinks.iter().map(|uplink| uplink.name.clone()).collect();
        let (node, live, history) =
            (self.options.node.clone(), self.live.subscribe(), self.history.subscribe());
        let told = Told {
            keys: keys.subscribe(),
            holds: succession.holds(),
            yielded: self.yielded.clone(),
            beats: self.beats.clone(),
            questions,
            pins: self.options.pins.clone(),
        };
        let probing = Liveness::start(cluster, told, self.outlook.clone())?;
        tokio::select! {
            result = self.take_turns(&mut succession, rolling, proxy, snapshots.clone()) => result,
            never = ring.follow(&keys, &roll) => match never {},
            never = self.options.drain.follow(&self.draining, self.turn.subscribe()) => match never {},
            result = probing.feed(node, snapshots, history, live, self.draining.subscribe(), names) => result,
        }
    }
}

async fn armed(orders: mpsc::Sender<Order>, filter: CaptureFilter) -> Result<Armed, String> {
    let gone = "the packet path has gone to another agent".to_owned();
    let (answer, answered) = oneshot::channel();
    orders.send(Order { filter, answer }).await.map_err(|_| gone.clone())?;
    let capture = answered.await.map_err(|_| gone)?;
    let Capture { packets, lost } = capture.map_err(|error| error.to_string())?;
    Ok(Armed { packets, lost })
}

/// Has the packet path go on without an agent at once.
pub(super) fn fall_silent(run: &Run) {
    l4::liveness::fall_silent(&pins(run));
}

fn pins(run: &Run) -> Pins {
    let pins = Pins::new(run.bpffs.clone());
    #[cfg(debug_assertions)]
    let pins = if run.other_layout { pins.of_another_layout() } else { pins };
    pins
}
