//! The packet path, and its members.

use super::Named;

pub(crate) const MEMBERS: Named = ("lb_l4_members", "Edge nodes that can own flows.");
pub(crate) const PEER_STATE: Named =
    ("lb_l4_peer_state", "How each other member answers probes: 1 for the state that it is in.");
pub(crate) const PEER_ROUND_TRIP: Named =
    ("lb_l4_peer_round_trip_microseconds", "How long a member's last answer to a probe took.");
pub(crate) const PEER_PROBES: Named = ("lb_l4_peer_probes", "Probes sent, by member.");
pub(crate) const PEER_LOST: Named = ("lb_l4_peer_lost_probes", "Probes that were not answered, by member.");
pub(crate) const PEER_FLAPS: Named =
    ("lb_l4_peer_flaps", "How often a member went down after it had been up.");
pub(crate) const ALONE: Named =
    ("lb_l4_alone", "1 while no member answers and this node's own link, routes or gateway are to blame.");
pub(crate) const STOOD_IN: Named = (
    "lb_l4_stood_in",
    "1 while others open this node's flows: its agent was silent, and its rows do not lead to what opened meanwhile.",
);
pub(crate) const MEMBERSHIPS: Named = (
    "lb_l4_memberships",
    "Memberships that rows are made of: the one in force, former ones, one that is learned.",
);
pub(crate) const CHANGE_QUEUED: Named = (
    "lb_l4_change_queued",
    "1 while a change of the members waits, for flows need all former memberships that there is room for.",
);
pub(crate) const FLOW_KEY_COMES: Named =
    ("lb_l4_flow_key_comes", "1 while the Secret or the file has another flow key than the one in force.");
pub(crate) const FLOW_KEYS: Named =
    ("lb_l4_flow_keys", "Flow keys by which connections are found: two while one takes another's place.");
pub(crate) const FLOW_KEY_LACKS: Named = (
    "lb_l4_flow_key_lacks",
    "1 while other nodes find connections by a flow key that this one does not know: it may attract no VIPs.",
);
pub(crate) const HELD: Named = ("lb_l4_connections", "Open connections to VIPs on this node.");
pub(crate) const HALF_OPEN: Named = (
    "lb_l4_half_open_connections",
    "Connections to VIPs on this node whose clients have still to answer its SYN: many in a SYN flood.",
);
pub(crate) const INTERFACE_MODE: Named =
    ("lb_l4_interface_mode", "Interfaces with the packet path on them, by the mode in which they run it.");
pub(crate) const PACKETS: Named =
    ("lb_l4_packets", "Packets seen by the packet path, by what happened to them.");
pub(crate) const SERVICE_PACKETS: Named =
    ("lb_l4_service_packets", "Packets for which this node was the first hop, by service.");
pub(crate) const SERVICE_BYTES: Named =
    ("lb_l4_service_bytes", "Bytes of IP for which this node was the first hop, by service.");
