//! What the steps need of the world: the frame's memory, the maps, and a way to say what becomes of it.

use lb_common::map::{Config, Member, TableHead};
use lb_common::row::{MemberId, Row};
use lb_common::service_table::{ServiceBucket, ServiceKey4, ServiceKey6};
use lb_common::verdict::Verdict;

/// A frame as the driver holds it.
///
/// # Safety
/// All bytes from `start` up to, not including, `end` are valid for reads and writes for as long as the
/// frame is borrowed and `adjust_head` is not called.
pub unsafe trait Frame {
    /// Address of the first byte of the Ethernet header.
    fn start(&self) -> usize;
    /// Address behind the last byte.
    fn end(&self) -> usize;
    /// The interface that it came in on.
    fn interface(&self) -> u32;
    /// Moves the start by `delta` bytes: negative makes room in front, whose content is undefined.
    /// False, and nothing moved, if there is no such room.
    #[must_use]
    fn adjust_head(&mut self, delta: i32) -> bool;
}

/// The maps, as the steps use them.
pub trait Maps {
    /// This node's configuration.
    fn config(&self) -> Option<&Config>;
    /// A bucket of IPv4 services and VIPs.
    fn services4(&self, bucket: u32) -> Option<&ServiceBucket<ServiceKey4>>;
    /// A bucket of IPv6 services and VIPs.
    fn services6(&self, bucket: u32) -> Option<&ServiceBucket<ServiceKey6>>;
    /// Which slot of a table is in force.
    fn table(&self, table: u32) -> Option<&TableHead>;
    /// The row of a bucket in a slot.
    fn row(&self, slot: u32, bucket: usize) -> Option<Row>;
    /// A member by its id.
    fn member(&self, id: MemberId) -> Option<&Member>;
    /// Counts a packet.
    fn count(&self, verdict: Verdict);
    /// Counts a service's packet of `bytes` bytes.
    fn count_traffic(&self, service: u32, bytes: u16);
}

/// What the driver is to do with the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Up to the kernel.
    Pass,
    /// Free it.
    Drop,
    /// Out of the interface that it came in on.
    Transmit,
    /// Out of another interface.
    Redirect(u32),
}
