//! How a snapshot comes into the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use lb_common::map::{LISTENER_V4, LISTENER_V6, STAND_IN, config};
use tracing::{debug, info, warn};

use super::super::plan::{carry_out, plan};
use super::super::wanted::{INGRESS_TABLE, Key, Wanted, peers};
use super::super::{L4Error, reach, routes, uplink};
use super::Datapath;
use crate::model::{Member, Snapshot};

impl Datapath {
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

    /// Brings the kernel to a snapshot: ways first, then maps, then the routes that let connections in.
    pub(super) async fn apply(&mut self, snapshot: &Snapshot) -> Result<(), L4Error> {
        self.steer()?;
        let members = self.memberships.members();
        self.resolve(&members).await?;
        let this = members.get(&self.local.node).map(|member| member.id);
        let (rows, stand_in) = match self.openers_only {
            true => (Arc::new(self.memberships.rows().openers_only()), None),
            false => {
                let [rows, stand_in] = self.memberships.tables(this);
                (rows, Some(stand_in))
            }
        };
        let down = self.memberships.down();
        let mut wanted = Wanted::with_members(snapshot, &members, down, rows, &self.local, &self.ways.reach);
        if self.memberships.was_away(&self.local.node) {
            wanted.config.flags |= config::WAS_AWAY;
        }
        wanted.tables.extend(stand_in.map(|table| (INGRESS_TABLE + STAND_IN, table)));
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

    fn steer(&mut self) -> Result<(), L4Error> {
        for (index, socket) in std::mem::take(&mut self.listeners) {
            self.maps.steer_to(index, &socket)?;
        }
        Ok(())
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
