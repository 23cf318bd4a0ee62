//! What of the kernel's tables changes, and must be looked at again.

use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::sleep;

use super::super::netlink::Change;
use super::Datapath;

/// Changes of routes and neighbours come in bursts: wait this long for the end of one.
const BURST: Duration = Duration::from_millis(20);

/// What of the kernel's tables must be looked at again.
#[derive(Debug)]
pub(super) struct Stale {
    pub(super) interfaces: bool,
    pub(super) ways: bool,
    pub(super) vips: bool,
}

impl Datapath {
    /// Waits for changes that matter, to the end of their burst. What it noted stays noted if it is dropped.
    pub(super) async fn follow(&mut self, changes: &mut (impl Stream<Item = Change> + Unpin)) -> Option<()> {
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
}
