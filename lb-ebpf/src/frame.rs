//! What the steps need of the world: the frame's memory, the node's sockets, the maps, and a way to say what
//! becomes of the frame.

use lb_common::fragment::{Datagram, DatagramKey, Head};
use lb_common::limit::Limit;
use lb_common::map::{Config, Member, TableHead};
use lb_common::row::{MemberId, Row};
use lb_common::service_table::{ServiceBucket, ServiceKey4, ServiceKey6};
use lb_common::verdict::Counter;

use crate::quic::Payload;
use crate::walk::{Next, Walk};

/// A frame as the driver holds it.
///
/// # Safety
/// All bytes from `start` up to, not including, `end` are valid for reads and writes for as long as the
/// frame is borrowed and neither `adjust_head` nor `truncate` is called.
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
    /// Moves the end so that the frame is `len` bytes long, which it must not be less than. False, and nothing moved, if
    /// it cannot.
    #[must_use]
    fn truncate(&mut self, len: usize) -> bool;
    /// Gives the agent a copy of the frame, of which `head` tells. False if there is no room for it.
    #[must_use]
    fn hand_over(&self, head: Head) -> bool;
    /// `step()` of a walk, with this node's sockets and maps. In the kernel it is a function that the verifier
    /// looks at once: inlined, it would look at it for each of the many ways that lead there.
    fn walk(&self, walk: &Walk) -> Next;
    /// `named()` of a datagram, with this node's maps: for the same reason a function of its own.
    fn named(&self, payload: Payload) -> MemberId;
}

/// The node's sockets.
pub trait Sockets {
    /// What the node's kernel has for the TCP segment `walk`, which begins with `tcp`.
    fn socket(&self, walk: &Walk, tcp: &TcpHeader) -> Socket;
}

/// The first 20 bytes of a TCP segment as words loaded from the packet (network order).
pub type TcpHeader = [u32; 5];

/// What a node's kernel has for a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Socket {
    /// Nothing.
    None,
    /// A listener to which the segment means nothing.
    Listener,
    /// A listener whose SYN cookie the segment brings back: the third packet of a handshake of which the node
    /// keeps no state.
    Cookie,
    /// What is left of a closed connection (TIME_WAIT; also FIN_WAIT_2 once the process is done with it) whose end the segment
    /// acknowledges.
    TimeWait,
    /// A handshake, or what is left of a closed connection, of the same client and ports, and with other numbers than the
    /// one that the segment acknowledges: another member gave that one.
    OtherConnection,
    /// A connection, half-open or open.
    Connection,
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
    /// `Row::joined` of two rows, by who is down. In the kernel a function of its own, as `Frame::walk`.
    fn joined(&self, by_key: Row, by_other: Row) -> Row;
    /// Whether this node's agent has given no sign of life for too long.
    fn is_agent_silent(&self) -> bool;
    /// `walk::hand_on`. In the kernel a function of its own, as `Frame::walk`.
    fn hand_on(&self, walk: &Walk, next: Next) -> Next;
    /// Has a walk go on as `walk::led_on` says. In the kernel a function of its own, as `Frame::walk`.
    fn lead_on(&self, walk: &mut Walk);
    /// What the first part of a datagram said.
    fn datagram(&self, key: &DatagramKey) -> Option<Datagram>;
    /// Remembers what it says, if there is room.
    fn remember(&self, key: &DatagramKey, datagram: &Datagram);
    /// Nanoseconds of the monotonic clock, as they were a tick ago at most.
    fn now(&self) -> u64;
    /// Counts a packet.
    fn count(&self, counter: Counter);
    /// Whether something may be done once more now, and that counts as doing it.
    #[must_use]
    fn allows(&self, limit: Limit) -> bool;
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
