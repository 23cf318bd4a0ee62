//! The BPF maps: names, sizes, keys and values. Values are plain integers of fixed layout without padding:
//! any bytes that the kernel holds are a value.

use crate::hash::{FlowKey, KEY_WORDS};
use crate::row::{BUCKETS, MemberId};

/// The version of all layouts below, part of the pin path: two versions never share a map.
pub const LAYOUT: u32 = 4;

/// VIPs and their ports, of both families together.
pub const MAX_SERVICES: u32 = 8_192;

/// Buckets of each service table: four times as many slots as there can be services, for two-choice hashing
/// without moves.
pub const SERVICE_BUCKETS: u32 = 8_192;

/// Tables, that is backend sets, at one time.
pub const MAX_TABLES: u32 = 8;

/// So far behind a table is the one that stands in for it while this node's agent gives no sign of life: the same,
/// but that this node opens nothing.
pub const STAND_IN: u32 = 1;

/// An agent whose last sign of life (nanoseconds of the monotonic clock, 0: none yet) is older than this is dead, or
/// stands still. Other nodes have noticed by then, too.
pub const BEAT_LIMIT: u64 = 400_000_000;

/// Copies of each table: the one in force and the one being written.
pub const TABLE_SLOTS: u32 = 2;

/// Member ids are 16 bits wide.
pub const MAX_MEMBERS: u32 = 1 << 16;

/// Map names, as the kernel and `bpftool` show them.
pub mod name {
    /// `Array<Config>` with one entry.
    pub const CONFIG: &str = "CONFIG";
    /// `Array<ServiceBucket<ServiceKey4>>`.
    pub const SERVICES4: &str = "SERVICES4";
    /// `Array<ServiceBucket<ServiceKey6>>`.
    pub const SERVICES6: &str = "SERVICES6";
    /// `Array<TableHead>`: which slot of a table is in force.
    pub const TABLES: &str = "TABLES";
    /// `Array<Rows>`: the slots.
    pub const ROWS: &str = "ROWS";
    /// `Array<Member>` by member id.
    pub const MEMBERS: &str = "MEMBERS";
    /// `PerCpuArray<u64>` by `Verdict::counter`: packets.
    pub const VERDICTS: &str = "VERDICTS";
    /// `PerCpuArray<Traffic>` by `Service::index`.
    pub const TRAFFIC: &str = "TRAFFIC";
    /// `Array<u64>` with one entry: the agent's last sign of life.
    pub const BEAT: &str = "BEAT";
    /// `SockMap` of listening sockets, at `LISTENER_V4` and `LISTENER_V6`.
    pub const LISTENERS: &str = "LISTENERS";

    /// `PerCpuArray<u64>` by `Limit`: when each bucket is full again. The next agent's are full.
    pub const LIMITS: &str = "LIMITS";

    /// `Array<Filter>` with one entry: what is captured.
    pub const CAPTURE: &str = "CAPTURE";
    /// `PerCpuArray<Slot>` with one entry: the record that a CPU works on.
    pub const CAPTURE_SLOT: &str = "CAPTURE_SLOT";
    /// Ring buffer of `Record`.
    pub const CAPTURED: &str = "CAPTURED";
    /// `LruHash<DatagramKey, Datagram>`: what first parts of datagrams said. The next agent's is empty: parts of one are on their way together.
    pub const DATAGRAMS: &str = "DATAGRAMS";
    /// `RingBuf` of `Handed`: frames for the agent.
    pub const RING: &str = "RING";

    /// `Array<Bench>` with one entry: no part of the packet path.
    pub const BENCH: &str = "BENCH";
    /// The program under test: no part of the packet path.
    pub const BENCH_PROGRAM: &str = "BENCH_PROGRAM";

    /// Those of the packet path.
    pub const ALL: [&str; 10] =
        [CONFIG, SERVICES4, SERVICES6, TABLES, ROWS, MEMBERS, VERDICTS, TRAFFIC, BEAT, LISTENERS];

    /// Those of them that the packet path only reads: by them alone it decides.
    pub const STATE: [&str; 7] = [CONFIG, SERVICES4, SERVICES6, TABLES, ROWS, MEMBERS, BEAT];

    /// Those of one agent: no other one takes them over, and its programs share them.
    pub const OWN: [&str; 3] = [LIMITS, DATAGRAMS, RING];
}

/// Names of what is written into the programs before they are loaded.
pub mod global {
    /// Where a half-open socket of this kernel keeps the number with which it answered: bytes from its start, 0 if that
    /// is not known.
    pub const ANSWERED_AT: &str = "ANSWERED_AT";
    /// `u32`: where what is left of a closed connection keeps the number behind its FIN, in bytes from its start; 0 if that is
    /// not known.
    pub const CLOSED_AT: &str = "CLOSED_AT";
}

/// Program names.
pub mod program {
    /// The packet path, attached to interfaces.
    pub const XDP: &str = "edgelb_xdp";
    /// The packet path that tells what it does, on interfaces in the place of `XDP` while somebody captures.
    pub const CAPTURE: &str = "edgelb_capture";
    /// The socket lookup, attached to the network namespace.
    pub const SK_LOOKUP: &str = "edgelb_sk_lookup";
    /// The packet path for frames that the agent gives back. Attached to nothing.
    pub const GIVEN: &str = "edgelb_given";
    /// The same in the place of `GIVEN` while somebody captures.
    pub const CAPTURE_GIVEN: &str = "edgelb_capture_given";
    /// Restores the frame between a benchmark's runs and calls the program under test.
    pub const BENCH_RUN: &str = "bench_run";
    /// A floor for benchmarks: returns at once.
    pub const FLOOR_RETURN: &str = "floor_return";
    /// A floor for benchmarks: parses and encapsulates without a look-up.
    pub const FLOOR_ENCAP: &str = "floor_encap";
    /// For benchmarks: sends frames out where `Bench::ifindex` says.
    pub const BENCH_SEND: &str = "bench_send";
    /// For benchmarks: where frames end.
    pub const BENCH_SINK: &str = "bench_sink";
    /// For the far ends of test links: lets everything through.
    pub const PASS: &str = "pass";
}

/// Where the IPv4 listener stands in `LISTENERS`.
pub const LISTENER_V4: u32 = 0;

/// Where the IPv6 listener stands in `LISTENERS`.
pub const LISTENER_V6: u32 = 1;

/// What a service's packets need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Service {
    /// Its slot in `TRAFFIC`.
    pub index: u32,
    /// Its table.
    pub table: u32,
    /// `service::*` bits.
    pub flags: u32,
    /// Always 0.
    pub zero: u32,
}

/// Bits of `Service::flags`.
pub mod service {
    /// The proxy listens for it: packets are delivered to a socket of this node.
    pub const LISTENER: u32 = 1;
    /// The entry is the VIP itself, no service.
    pub const VIP: u32 = 2;
    /// Of a UDP service: its clients speak QUIC, so that connection IDs name members (`quic`).
    pub const QUIC: u32 = 4;
}

/// What the program knows of its own node and cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Config {
    /// Outer source address when members are reached over IPv4, in network order; else 0.
    pub local_v4: u32,
    /// This edgelb cluster's id.
    pub cluster: u32,
    /// Outer source address when members are reached over IPv6; else 0.
    pub local_v6: [u64; 2],
    /// This node's id; `NO_MEMBER` if it owns nothing.
    pub member: MemberId,
    /// UDP port of the encapsulation, in network order.
    pub port: u16,
    /// `config::*` bits.
    pub flags: u32,
    /// The secrets of flow hash, tag and connection IDs: the flow key in force.
    pub key: FlowKey,
    /// With `config::TWO_KEYS`, another flow key by which flows may have opened, and packets may be tagged.
    pub other: FlowKey,
}

/// Bits of `Config::flags`.
pub mod config {
    /// The configuration is complete.
    pub const READY: u32 = 1;
    /// There is another flow key beside the one in force.
    pub const TWO_KEYS: u32 = 2;
    /// Flows that were this node's to take have opened elsewhere, and first hops may not know: by a chain that names this
    /// node alone, packets go on along this node's own row.
    pub const WAS_AWAY: u32 = 4;
}

/// Which slot of a table is in force. Writers fill the other slot, then flip this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TableHead {
    /// An index into `ROWS`.
    pub slot: u32,
    /// The lower 32 bits of the generation that the slot was made from: for people who read the map.
    pub generation: u32,
    /// A hash of the slot's rows: equal on all nodes that agree.
    pub digest: u64,
}

/// One slot: the row of each bucket, packed (`row::Row`).
pub type Rows = [u64; BUCKETS as usize];

/// How a member is reached from this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Member {
    /// Its outer address in network order; IPv4 in the lower half of the first word.
    pub address: [u64; 2],
    /// MAC address of the next hop towards it.
    pub next_hop: [u8; 6],
    /// MAC address of the interface towards it.
    pub source: [u8; 6],
    /// That interface.
    pub ifindex: u32,
    /// Largest IP packet on the way to it, outer header included, bytes.
    pub mtu: u16,
    /// `member::*` bits.
    pub flags: u16,
    /// Always 0.
    pub zero: u32,
}

/// Bits of `Member::flags`.
pub mod member {
    /// The entry names a member of this cluster.
    pub const KNOWN: u16 = 1;
    /// The outer header is IPv6.
    pub const V6: u16 = 2;
    /// `next_hop`, `source`, `ifindex` and `mtu` are filled in.
    pub const REACHABLE: u16 = 4;
    /// It does not answer this node: nothing that can open a flow is to go by it.
    pub const DOWN: u16 = 8;
}

/// A service's packets and bytes (of IP, without the link layer) as this node was the first hop for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// 64-bit words at a frame's start that a benchmark restores.
pub const BENCH_HEAD_WORDS: usize = 8;

/// What a benchmark's runs start from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Bench {
    /// The frame's first bytes.
    pub head: [u64; BENCH_HEAD_WORDS],
    /// The frame's length.
    pub len: u32,
    /// The low word of the first flow's source address, in host order.
    pub source: u32,
    /// Flows, a power of two, less 1.
    pub mask: u32,
    /// Runs so far.
    pub counter: u32,
    /// 1 for IPv6.
    pub is_v6: u32,
    /// Where `BENCH_SEND` sends frames.
    pub ifindex: u32,
}

// A hole would be read back as garbage and would compare unequal: each size is the sum of its fields.
const _: () = {
    assert!(size_of::<Service>() == 4 * 4);
    assert!(size_of::<FlowKey>() == KEY_WORDS * 8);
    assert!(size_of::<Config>() == 2 * KEY_WORDS * 8 + 4 + 4 + 16 + 2 + 2 + 4);
    assert!(size_of::<TableHead>() == 2 * 4 + 8);
    assert!(size_of::<Member>() == 16 + 6 + 6 + 4 + 2 + 2 + 4);
    assert!(size_of::<Traffic>() == 2 * 8);
    assert!(size_of::<Bench>() == BENCH_HEAD_WORDS * 8 + 6 * 4);
    assert!(size_of::<Rows>() == BUCKETS as usize * 8);
};
