//! The packet path as the app sees it: started once, then given snapshots. Follows the kernel's routes and
//! neighbours by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use futures_util::StreamExt;
use lb_common::map::{LISTENER_V4, LISTENER_V6, name};
use rtnetlink::Handle;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::attach::{self, Attachment};
use super::maglev::{self, Table};
use super::maps::Maps;
use super::pins::Pins;
use super::plan::{Installed, plan};
use super::wanted::{Local, Reach, Wanted, peers};
use super::{L4Error, interface, loader, netlink, reach, routes};
use crate::model::{Member, Snapshot};

/// Changes of routes and neighbours come in bursts: wait this long for the end of one.
const BURST: Duration = Duration::from_millis(20);

/// The kernel tells of every change, but ways that cannot be told of (a route's MTU, say) are asked for.
const REFRESH: Duration = Duration::from_secs(5);

/// What the packet path is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What this node adds to snapshots.
    pub local: Local,
    /// Interfaces whose packets are taken.
    pub interfaces: Vec<String>,
    /// Where maps and links are pinned.
    pub pins: Pins,
}

/// The programs in the kernel, and what was last written into their maps.
pub struct Datapath {
    local: Local,
    maps: Maps,
    netlink: Handle,
    attachments: Vec<Attachment>,
    installed: Installed,
    table: (Vec<Member>, Arc<Table>),
    reach: BTreeMap<IpAddr, Reach>,
    /// Sockets that are to get the connections, by their place in the map.
    listeners: Vec<(u32, OwnedFd)>,
    /// Programs live as long as this or their pinned links.
    _object: Ebpf,
}

impl Datapath {
    /// Loads and attaches. Packets flow as the maps found pinned say, or untouched if there were none.
    ///
    /// # Errors
    /// `L4Error`, with what to do about it; what was attached before stays attached.
    pub async fn start(options: Options) -> Result<Self, L4Error> {
        let Options { local, interfaces, pins } = options;
        let netlink = netlink::connect()?;
        for name in &interfaces {
            interface::find(&netlink, name).await?;
        }
        pins.prepare()?;
        let mut object = loader::load(Some(&pins))?;
        let maps = Maps::take(&mut object)?;
        let mut attachments = Vec::new();
        for name in &interfaces {
            attachments.push(attach::xdp(&mut object, &netlink, &pins, name).await?);
            interface::hide_vips(&netlink, name).await?;
        }
        detach_others(&pins, &interfaces)?;
        attach::sk_lookup(&mut object, &pins)?;
        pins.remove_other_layouts()?;
        let installed = maps.read()?;
        let table = (Vec::new(), Arc::new(maglev::fill(&[])));
        Ok(Self {
            local,
            maps,
            netlink,
            attachments,
            installed,
            table,
            reach: BTreeMap::new(),
            listeners: Vec::new(),
            _object: object,
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
            self.maps.listeners.set(index, &socket, 0).map_err(L4Error::map(name::LISTENERS))?;
        }
        Ok(())
    }

    /// Follows snapshots and the kernel's tables, and tells each generation that is live. Never returns but
    /// when the snapshots' sender is gone.
    pub async fn run(
        mut self,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        live: watch::Sender<u64>,
    ) -> Result<(), L4Error> {
        let mut changes = netlink::changes()?;
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                match self.apply(&snapshot).await {
                    Ok(()) => _ = live.send_replace(snapshot.generation),
                    Err(error) => warn!(%error, generation = snapshot.generation, "the last state stays"),
                }
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return Ok(()) },
                _ = changes.next() => sleep(BURST).await,
                () = sleep(REFRESH) => {}
            }
        }
    }

    /// Brings the kernel to a snapshot: ways first, then maps, then the routes that let connections in.
    async fn apply(&mut self, snapshot: &Snapshot) -> Result<(), L4Error> {
        self.steer()?;
        self.resolve(snapshot).await?;
        let wanted = Wanted::new(snapshot, self.table_of(snapshot), &self.local, &self.reach);
        let operations = plan(&self.installed, &wanted)?;
        for operation in &operations {
            self.maps.carry_out(operation)?;
            self.installed.apply(operation);
        }
        if !operations.is_empty() {
            debug!(generation = snapshot.generation, writes = operations.len(), "maps written");
        }
        routes::set(&self.netlink, &snapshot.vips).await
    }

    async fn resolve(&mut self, snapshot: &Snapshot) -> Result<(), L4Error> {
        let peers = peers(snapshot, &self.local.node);
        let found = reach::resolve(&self.netlink, &peers).await?;
        for peer in peers {
            match (self.reach.contains_key(&peer), found.contains_key(&peer)) {
                (false, true) => info!(member = %peer, "next hop resolved"),
                (true, false) => warn!(member = %peer, "next hop lost"),
                _ => {}
            }
        }
        self.reach = found;
        Ok(())
    }

    /// The table is filled anew only when members change: most snapshots differ in routes alone.
    fn table_of(&mut self, snapshot: &Snapshot) -> Arc<Table> {
        if !snapshot.members.values().eq(&self.table.0) {
            let members: Vec<_> = snapshot.members.values().cloned().collect();
            self.table = (members.clone(), Arc::new(maglev::fill(&members)));
        }
        Arc::clone(&self.table.1)
    }
}

/// Removes the links of interfaces that are no longer named.
fn detach_others(pins: &Pins, interfaces: &[String]) -> Result<(), L4Error> {
    for (interface, pin) in pins.xdp_links()? {
        if !interfaces.contains(&interface) {
            std::fs::remove_file(&pin).map_err(super::pins::pin_error(&pin))?;
            info!(interface, "XDP detached: no longer named by --interface");
        }
    }
    Ok(())
}

/// Removes everything that an agent left in the kernel: links, maps, local routes. True if there was any.
///
/// # Errors
/// `L4Error` for the first thing that cannot be removed.
pub async fn uninstall(pins: &Pins) -> Result<bool, L4Error> {
    let netlink = netlink::connect()?;
    let vips = routes::list(&netlink).await?;
    let removed = pins.remove_all()?;
    routes::set(&netlink, &std::collections::BTreeSet::new()).await?;
    Ok(removed || !vips.is_empty())
}
