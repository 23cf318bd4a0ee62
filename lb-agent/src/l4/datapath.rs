//! The packet path as the app sees it: started once, then given snapshots. Follows the kernel's routes and
//! neighbours by itself.

mod apply;
mod capture;
mod changes;
mod flows;
mod inputs;
mod interfaces;
mod step;
mod waiting;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use rtnetlink::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use self::changes::Stale;
use self::flows::Flows;
pub use self::inputs::{Inputs, Options, Outputs};
use self::waiting::Waiting;
use super::attach::{self, Attachment};
use super::capture::{Events, Session};
use super::fragments::{self, Fragments};
use super::full_size::{self, Packets};
use super::maps::Maps;
use super::memberships::Memberships;
use super::pins::{PinLock, Pins};
use super::plan::Installed;
use super::reach::Ways;
use super::wanted::{INGRESS_TABLE, Key, Local};
use super::{L4Error, clock, holdings, loader, netlink, routes};
use crate::model::{Mark, Roll};

/// The kernel tells of every change, but ways that cannot be told of (a route's MTU, say) are asked for.
const REFRESH: Duration = Duration::from_secs(5);

/// By then each member has answered or is down, from the start on: the two seconds that one has which was never heard.
const VERDICT: Duration = Duration::from_millis(2500);

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
    waiting: Waiting,
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
            waiting: Waiting::default(),
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
        let Outputs { live, history, holdings, gone, missed } = outputs;
        let (questions, asked) = watch::channel(None);
        let mut held = holdings.subscribe();
        tokio::spawn(holdings::follow(asked, holdings));
        let (packets, smaller) = (watch::Sender::new(Packets::default()), Arc::new(Notify::new()));
        tokio::spawn(full_size::follow(packets.subscribe(), Arc::clone(&smaller)));
        loop {
            self.attach_again(&gone).await;
            self.local.keys = *inputs.keys.borrow_and_update();
            self.roll = *inputs.roll.borrow_and_update();
            let snapshot = inputs.snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                let counted = held.borrow_and_update().clone();
                self.waiting.begin(*inputs.missed.borrow_and_update());
                self.step(&snapshot, &mut inputs, counted.as_ref());
                let applied = self.apply(&snapshot).await;
                let is_applied = applied.is_ok();
                match applied {
                    Ok(()) => {
                        self.replace_other_layout().await?;
                        self.tell(&history);
                        // Who keeps the rows of before has loaded none of its own.
                        if self.keeps_rows.is_none() {
                            live.send_replace(self.loaded(&snapshot, counted.as_ref()));
                        }
                        let question = self.flows.question(&snapshot, &self.memberships, &self.local);
                        questions.send_if_modified(|asked| asked.replace(question.clone()) != Some(question));
                        let members = self.memberships.members();
                        let now = Packets::new(members.values(), &self.ways, &self.local);
                        packets.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
                    }
                    Err(error) => warn!(%error, generation = snapshot.generation, "the last state stays"),
                }
                self.open_again(is_applied && self.keeps_rows.is_none(), &missed);
            }
            tokio::select! {
                changed = inputs.snapshots.changed() => if changed.is_err() { return Ok(()) },
                Ok(()) = inputs.keys.changed() => {}
                Ok(()) = inputs.roll.changed() => {}
                Ok(()) = inputs.down.changed() => {}
                Ok(()) = inputs.alone.changed() => {}
                Ok(()) = inputs.missed.changed() => {}
                Ok(()) = inputs.heard.changed() => {}
                Ok(()) = inputs.judged.changed() => {}
                Ok(()) = inputs.draining.changed() => {}
                Ok(()) = held.changed() => {}
                () = clock::reach(self.due()) => {}
                Some(()) = self.follow(&mut changes) => {}
                Some(order) = captures.recv(), if self.may_capture() => self.take_order(order),
                Some(event) = session.recv() => self.go_on_with_session(event),
                _ = refresh.tick() => self.stale.ways = true,
                () = smaller.notified() => self.stale.ways = true,
            }
        }
    }

    /// When time alone changes something.
    fn due(&self) -> Option<Duration> {
        let waiting = self.waiting.due();
        self.memberships.due(clock::now()).into_iter().chain(self.keeps_rows).chain(waiting).min()
    }
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
