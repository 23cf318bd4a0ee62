//! The packet path as the app sees it: started once, then given snapshots. Follows the kernel's routes and
//! neighbours by itself.

mod capture;
mod flows;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use futures_util::{FutureExt, Stream, StreamExt};
use lb_common::map::{LISTENER_V4, LISTENER_V6, STAND_IN};
use lb_common::row::MemberId;
use rtnetlink::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use self::flows::Flows;
use super::attach::{self, Attachment};
use super::capture::{Events, Order, Session};
use super::fragments::{self, Fragments};
use super::keyring::prints;
use super::keys::{Keys, fingerprint};
use super::maps::Maps;
use super::memberships::{Memberships, Sight};
use super::netlink::Change;
use super::pins::{PinLock, Pins};
use super::plan::{Installed, carry_out, plan};
use super::reach::Ways;
use super::wanted::{INGRESS_TABLE, Key, Local, Wanted, peers};
use super::{L4Error, clock, holdings, interface, loader, netlink, reach, routes, uplink};
use crate::model::{
    Draining, Generation, Heard, History, Holdings, KeyPrints, Loaded, Mark, Member, Roll, Snapshot,
};

/// Changes of routes and neighbours come in bursts: wait this long for the end of one.
const BURST: Duration = Duration::from_millis(20);

/// The kernel tells of every change, but ways that cannot be told of (a route's MTU, say) are asked for.
const REFRESH: Duration = Duration::from_secs(5);

/// By then each member has answered or is down, from the start on: the two seconds that one has which was never heard.
const VERDICT: Duration = Duration::from_millis(2500);

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
}

/// The programs in the kernel, and what was last written into their maps.
pub struct Datapath {
    local: Local,
    maps: Maps,
    netlink: Handle,
    attachments: Vec<Attachment>,
    /// Until its maps are filled, the program of an agent with another layout goes on by those of its own.
    is_to_fill: bool,
    installed: Installed,
    openers_only: bool,
    memberships: Memberships,
    flows: Flows,
    roll: Option<Roll>,
    /// How far the history is by whose keys this node goes.
    mark: Mark,
    /// Until then the rows of the agent before stay: this one does not know yet who is down.
    keeps_rows: Option<Duration>,
    /// Entries for which there is no place, as far as they are told.
    left_out: BTreeSet<Key>,
    ways: Ways,
    /// VIPs that have their local route.
    vips: BTreeSet<IpAddr>,
    stale: Stale,
    /// This node's address as a member in the last snapshot.
    address: Option<Option<IpAddr>>,
    /// Whether connections over IPv6 have a socket here: not where IPv6 is off.
    takes_v6: bool,
    /// Sockets that are to get the connections, by their place in the map.
    listeners: Vec<(u32, OwnedFd)>,
    pins: Pins,
    /// The capture under way.
    session: Option<Session>,
    events: Events,
    fragments: Fragments,
    /// Programs live as long as this or their pinned links.
    object: Ebpf,
    _lock: PinLock,
}

/// What of the kernel's tables must be looked at again.
#[derive(Debug)]
struct Stale {
    interfaces: bool,
    ways: bool,
    vips: bool,
}

impl Datapath {
    /// Takes the pins, at once or not at all: what is loaded then takes a while.
    ///
    /// # Errors
    /// `L4Error::PinsInUse`, and others with what to do about them.
    pub(super) async fn claim(options: &Options) -> Result<PinLock, L4Error> {
        let netlink = netlink::connect()?;
        for name in &options.interfaces {
            attach::expect_free(&netlink, &options.pins, name).await?;
        }
        options.pins.prepare()?;
        options.pins.lock()
    }

    /// Loads and attaches. Packets flow as the maps found pinned say, or untouched if there were none; by those of
    /// another layout, until ours are filled.
    ///
    /// # Errors
    /// `L4Error`, with what to do about it; what was attached before stays attached.
    pub(super) async fn start(options: Options, lock: PinLock) -> Result<Self, L4Error> {
        let Options { local, interfaces, pins, history, openers_only, drain_deadline } = options;
        let netlink = netlink::connect()?;
        let is_to_fill = !pins.other_layouts()?.is_empty();
        let mut object = loader::load(Some(&pins))?;
        let maps = Maps::take(&mut object)?;
        let attachments = match is_to_fill {
            true => attach::found(&netlink, &interfaces).await?,
            false => attach::all(&mut object, &netlink, &pins, &interfaces).await?,
        };
        let fragments = fragments::start(&mut object, &pins)?;
        let installed = maps.read()?;
        let now = clock::now();
        let has_rows = installed.tables.contains_key(&INGRESS_TABLE);
        Ok(Self {
            local,
            maps,
            netlink,
            attachments,
            is_to_fill,
            installed,
            openers_only,
            memberships: Memberships::restore(history, drain_deadline, now),
            flows: Flows::default(),
            roll: None,
            mark: Mark::default(),
            keeps_rows: has_rows.then(|| now + VERDICT),
            left_out: BTreeSet::new(),
            ways: Ways::default(),
            vips: BTreeSet::new(),
            stale: Stale { interfaces: false, ways: true, vips: true },
            address: None,
            takes_v6: false,
            listeners: Vec::new(),
            fragments,
            pins,
            session: None,
            // Followed by who runs it.
            events: mpsc::unbounded_channel().0,
            object,
            _lock: lock,
        })
    }

    /// How each interface runs the program.
    #[must_use]
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Has connections to VIPs go to these listening sockets, once the first snapshot is live: until then
    /// those of an earlier agent keep them.
    ///
    /// # Errors
    /// `L4Error::System` if a socket cannot be held.
    pub fn steer_to<S: AsFd>(&mut self, v4: Option<&S>, v6: Option<&S>) -> Result<(), L4Error> {
        self.takes_v6 = v6.is_some();
        for (index, socket) in [(LISTENER_V4, v4), (LISTENER_V6, v6)] {
            let Some(socket) = socket else { continue };
            let held = socket.as_fd().try_clone_to_owned();
            let action = "hold a listening socket";
            self.listeners.push((index, held.map_err(|source| L4Error::System { action, source })?));
        }
        Ok(())
    }

    fn steer(&mut self) -> Result<(), L4Error> {
        for (index, socket) in std::mem::take(&mut self.listeners) {
            self.maps.steer_to(index, &socket)?;
        }
        Ok(())
    }

    /// Follows its inputs and the kernel's tables, and tells each snapshot that is live. Never returns but
    /// when the snapshots' sender is gone.
    ///
    /// # Errors
    /// `L4Error::System` if the kernel's tables cannot be followed; others if programs of another layout cannot be
    /// replaced.
    pub async fn run(mut self, mut inputs: Inputs, outputs: Outputs) -> Result<(), L4Error> {
        let mut changes = netlink::changes()?;
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (events, mut session) = mpsc::unbounded_channel();
        self.events = events;
        let mut captures = Arc::clone(&inputs.captures).lock_owned().await;
        let Outputs { live, history, holdings, gone } = outputs;
        let (questions, asked) = watch::channel(None);
        let mut held = holdings.subscribe();
        tokio::spawn(holdings::follow(asked, holdings));
        loop {
            self.attach_again(&gone).await;
            self.local.keys = *inputs.keys.borrow_and_update();
            self.roll = *inputs.roll.borrow_and_update();
            let snapshot = inputs.snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                let counted = held.borrow_and_update().clone();
                self.step(&snapshot, &mut inputs, counted.as_ref());
                match self.apply(&snapshot).await {
                    Ok(()) => {
                        self.replace_other_layout().await?;
                        self.tell(&history);
                        // Who keeps the rows of before has loaded none of its own.
                        if self.keeps_rows.is_none() {
                            live.send_replace(self.loaded(&snapshot, counted.as_ref()));
                        }
                        let question = self.flows.question(&snapshot, &self.memberships, &self.local);
                        questions.send_if_modified(|asked| asked.replace(question.clone()) != Some(question));
                    }
                    Err(error) => warn!(%error, generation = snapshot.generation, "the last state stays"),
                }
            }
            tokio::select! {
                changed = inputs.snapshots.changed() => if changed.is_err() { return Ok(()) },
                Ok(()) = inputs.keys.changed() => {}
                Ok(()) = inputs.roll.changed() => {}
                Ok(()) = inputs.down.changed() => {}
                Ok(()) = inputs.alone.changed() => {}
                Ok(()) = inputs.heard.changed() => {}
                Ok(()) = inputs.judged.changed() => {}
                Ok(()) = inputs.draining.changed() => {}
                Ok(()) = held.changed() => {}
                () = clock::reach(self.due()) => {}
                Some(()) = self.follow(&mut changes) => {}
                Some(order) = captures.recv(), if self.may_capture() => self.take_order(order),
                Some(event) = session.recv() => self.go_on_with_session(event),
                _ = refresh.tick() => self.stale.ways = true,
            }
        }
    }

    /// Puts the programs in place of those that go by maps of another layout.
    async fn replace_other_layout(&mut self) -> Result<(), L4Error> {
        if std::mem::take(&mut self.is_to_fill) {
            let names: Vec<_> = self.attachments.iter().map(|ours| ours.interface.clone()).collect();
            self.attachments = attach::all(&mut self.object, &self.netlink, &self.pins, &names).await?;
            info!("maps of this version's layout are in force");
        }
        Ok(())
    }

    /// When time alone changes something.
    fn due(&self) -> Option<Duration> {
        self.memberships.due(clock::now()).into_iter().chain(self.keeps_rows).min()
    }

    fn loaded(&mut self, snapshot: &Snapshot, held: Option<&Holdings>) -> Loaded {
        let is_there = self.installed.tables.contains_key(&INGRESS_TABLE);
        let rows = is_there.then(|| self.memberships.agreed_rows().digest);
        self.mark = acknowledged(&snapshot.generations, prints(&self.local.keys)).unwrap_or(self.mark);
        let learned = self.other_key(Roll::Comes);
        self.flows.loaded(snapshot.generation, self.mark, rows, held, learned)
    }

    /// The other key, if that is what it is there for.
    fn other_key(&self, roll: Roll) -> Option<u32> {
        self.local.keys.other.as_ref().filter(|_| self.roll == Some(roll)).map(fingerprint)
    }

    /// Brings the memberships to this moment.
    fn step(&mut self, snapshot: &Snapshot, inputs: &mut Inputs, held: Option<&Holdings>) {
        let now = clock::now();
        let is_judged = *inputs.judged.borrow_and_update();
        self.keeps_rows = self.keeps_rows.filter(|&until| !is_judged && now < until);
        let down = inputs.down.borrow_and_update().clone();
        let heard = inputs.heard.borrow_and_update().clone();
        let held = self.flows.counted(held);
        let sight = Sight {
            node: &self.local.node,
            drains: inputs.draining.borrow_and_update().is_some(),
            alone: *inputs.alone.borrow_and_update(),
            down: &down,
            heard: &heard,
            needed: held.map(|held| &held.former),
            roll: self.roll,
        };
        self.memberships.observe(&snapshot.generations, sight, now);
        let former = self.other_key(Roll::Goes);
        self.flows = Flows::of(&mut self.memberships, former);
        self.memberships.news().iter().for_each(|words| info!("{words}"));
    }

    fn tell(&self, history: &watch::Sender<History>) {
        let now = self.memberships.history();
        let before = history.send_replace(now.clone());
        if now.all_drain() && !before.all_drain() {
            warn!("all members drain: new flows go on opening at each of them, as there is no other");
        }
        match now.queued {
            Some(words) if before.queued.is_none() => info!("{words}"),
            _ => {}
        }
    }

    /// Waits for changes that matter, to the end of their burst. What it noted stays noted if it is dropped.
    async fn follow(&mut self, changes: &mut (impl Stream<Item = Change> + Unpin)) -> Option<()> {
        // Only a new one: what is stale because it failed is tried again with the next refresh.
        loop {
            let change = changes.next().await?;
            if self.note(&change) {
                break;
            }
        }
        sleep(BURST).await;
        while let Some(Some(change)) = changes.next().now_or_never() {
            self.note(&change);
        }
        Some(())
    }

    /// Whether the change matters.
    fn note(&mut self, change: &Change) -> bool {
        let is_missed = *change == Change::Missed;
        let is_interface = match change {
            Change::Interface { name: Some(name), .. } => {
                self.attachments.iter().any(|ours| &ours.interface == name)
            }
            _ => is_missed,
        };
        let is_vip = match change {
            Change::Route { to: Some(to) } => self.vips.contains(&to.addr()),
            _ => is_missed,
        };
        let is_way = self.ways.stand_on(change);
        self.stale.interfaces |= is_interface;
        self.stale.vips |= is_vip;
        self.stale.ways |= is_way;
        is_interface || is_vip || is_way
    }

    /// An interface that was deleted and made again (a virtual function, a bond, a driver that was loaded anew)
    /// has lost the program, and got another index.
    async fn attach_again(&mut self, gone: &watch::Sender<BTreeMap<String, String>>) {
        if !std::mem::take(&mut self.stale.interfaces) {
            return;
        }
        let mut gone_now = BTreeMap::new();
        for attachment in &mut self.attachments {
            let name = attachment.interface.clone();
            match interface::find(&self.netlink, &name).await {
                Ok(found) if found.index == attachment.index => continue,
                Ok(_) => {}
                Err(error) => {
                    warn!(interface = name, %error, "no packets come from it until it is back");
                    let is_gone = matches!(error, L4Error::NoInterface { .. });
                    let why = if is_gone { "it is gone".to_owned() } else { error.to_string() };
                    gone_now.insert(name, why);
                    continue;
                }
            }
            match attach::xdp(&mut self.object, &self.netlink, &self.pins, &name).await {
                Ok(attached) => *attachment = attached,
                Err(error) => {
                    warn!(interface = name, %error, "made again, but XDP cannot be attached");
                    gone_now.insert(name.clone(), error.to_string());
                }
            }
            if let Err(error) = interface::hide_vips(&self.netlink, &name).await {
                warn!(interface = name, %error, "VIPs may be told to the network");
            }
        }
        gone.send_if_modified(|gone| std::mem::replace(gone, gone_now.clone()) != gone_now);
    }

    /// Brings the kernel to a snapshot: ways first, then maps, then the routes that let connections in.
    async fn apply(&mut self, snapshot: &Snapshot) -> Result<(), L4Error> {
        self.steer()?;
        let members = self.memberships.members();
        self.resolve(&members).await?;
        let mut rows = self.memberships.rows();
        if self.openers_only {
            rows = Arc::new(rows.openers_only());
        }
        let down = self.memberships.down();
        let mut wanted = Wanted::with_members(snapshot, &members, down, rows, &self.local, &self.ways.reach);
        if !self.openers_only {
            let this = members.get(&self.local.node).map(|member| member.id);
            wanted.tables.insert(INGRESS_TABLE + STAND_IN, self.memberships.stand_in(this));
        }
        if self.keeps_rows.is_some() {
            wanted.keep_rows(&self.installed.members);
        }
        let own = snapshot.members.get(&self.local.node).map(|member| member.address);
        self.tell_of(own).await;
        let operations = plan(&self.installed, &wanted)?;
        let write = |operation: &_| self.maps.carry_out(operation);
        let left_out = carry_out(&operations, &mut self.installed, write)?;
        self.tell_left_out(snapshot, left_out);
        if !operations.is_empty() {
            debug!(generation = snapshot.generation, writes = operations.len(), "maps written");
        }
        self.route(snapshot).await
    }

    fn tell_left_out(&mut self, snapshot: &Snapshot, left_out: BTreeSet<Key>) {
        for key in left_out.difference(&self.left_out) {
            let error = L4Error::ServiceTableCrowded;
            match key {
                Key::Vip(vip) => warn!(%vip, "{error}; this VIP is left out"),
                Key::Service(address) => {
                    let service = snapshot.services.get(address).map(|service| service.object.to_string());
                    warn!(service, %address, "{error}; this port is left out");
                }
            }
        }
        self.left_out = left_out;
    }

    /// Says what else nobody would notice before clients do.
    async fn tell_of(&mut self, own: Option<IpAddr>) {
        if self.address.replace(own) == Some(own) {
            return;
        }
        let node = &self.local.node;
        let Some(address) = own else {
            return warn!(
                node,
                "no Node of this name is an edge node: packets are only passed on to the members (--node)"
            );
        };
        info!(node, %address, "this node is a member");
        let taken: Vec<_> = self.attachments.iter().map(|attachment| attachment.index).collect();
        if let Ok(Some(interface)) = uplink::apart(&self.netlink, address, &taken).await {
            warn!(
                %address, interface,
                "other members send packets to an interface on which nobody takes them: name it with --interface, \
                 beside those of clients"
            );
        }
    }

    async fn resolve(&mut self, members: &BTreeMap<String, Member>) -> Result<(), L4Error> {
        let peers = peers(members, &self.local.node);
        if !self.stale.ways && peers == self.ways.peers {
            return Ok(());
        }
        let found = reach::resolve(&self.netlink, peers).await?;
        for &peer in &found.peers {
            match (self.ways.reach.contains_key(&peer), found.reach.contains_key(&peer)) {
                (false, true) => info!(member = %peer, "next hop resolved"),
                (true, false) => warn!(member = %peer, "next hop lost"),
                _ => {}
            }
        }
        self.ways = found;
        self.stale.ways = false;
        Ok(())
    }

    /// All routes are listed for it, of which a node may have many: only when there is a reason.
    async fn route(&mut self, snapshot: &Snapshot) -> Result<(), L4Error> {
        let vips: BTreeSet<_> =
            snapshot.vips.iter().filter(|vip| vip.is_ipv4() || self.takes_v6).copied().collect();
        if self.stale.vips || vips != self.vips {
            // Not known until it is done.
            self.stale.vips = true;
            routes::set(&self.netlink, &vips).await?;
            self.vips = vips;
            self.stale.vips = false;
        }
        Ok(())
    }
}

/// What is acknowledged of a history: no key that this node does not go by yet, and nothing while flows open by another
/// one than in the newest generation.
fn acknowledged(generations: &[Arc<Generation>], keys: KeyPrints) -> Option<Mark> {
    let followed = keys.follow(generations, None);
    let is_followed = followed.keys.in_force == keys.in_force && followed.lacks.is_none();
    is_followed.then(|| Mark::of(&followed.known))
}

/// Removes everything that an agent left in the kernel: links, maps, local routes. True if there was any.
///
/// # Errors
/// `L4Error::PinsInUse` while an agent runs, for it would put half of it back; or `L4Error` for the first thing
/// that cannot be removed.
pub async fn uninstall(pins: &Pins) -> Result<bool, L4Error> {
    let _lock = if pins.exist()? { Some(pins.lock()?) } else { None };
    let netlink = netlink::connect()?;
    let vips = routes::list(&netlink).await?;
    let removed = pins.remove_all()?;
    routes::set(&netlink, &BTreeSet::new()).await?;
    Ok(removed || !vips.is_empty())
}
