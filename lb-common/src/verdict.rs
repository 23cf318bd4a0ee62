//! What can happen to a packet: one closed list that is the counter's index in the kernel, the label of
//! the metric and the word in `explain`. A number, once released, keeps its meaning.

use crate::row::ROW_MEMBERS;

/// Slots of the counter map: room for verdicts that later versions add.
pub const COUNTERS: u32 = 64;

/// The first of as many as a row has places.
const FIRST_FOUND: u32 = 8;

const FIRST_DROP: u32 = 16;

/// Numbers for reasons of loss. Above them stand verdicts for which there was no room below.
const DROPS: u32 = 32;

/// A verdict by its number: for where the packet path computes which one it is, and branches over names would be
/// so many ways more for the kernel's verifier to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Counter(pub u32);

impl Counter {
    /// Whether it is one of a packet that was lost.
    #[inline(always)]
    #[must_use]
    pub const fn is_drop(self) -> bool {
        self.0.wrapping_sub(FIRST_DROP) < DROPS
    }

    /// Whether it is one of a packet whose flow was found here among several members.
    #[inline(always)]
    #[must_use]
    pub const fn is_found(self) -> bool {
        self.0.wrapping_sub(FIRST_FOUND) < ROW_MEMBERS as u32
    }

    /// Its verdict; `None` for a number that is not used.
    #[must_use]
    pub fn verdict(self) -> Option<Verdict> {
        Verdict::all().find(|verdict| verdict.counter() == self.0)
    }
}

impl From<Verdict> for Counter {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self(verdict.counter())
    }
}

/// What happened to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Not for a VIP: left as it was for the kernel.
    NotForVip,
    /// Not understood within the parser's bounds: left as it was for the kernel.
    Unparsed,
    /// For a VIP, but neither TCP nor UDP nor a whole ping: left to the kernel.
    OtherProtocol,
    /// For a port of a VIP that no Service names: left to the kernel, which refuses it.
    NoService,
    /// This node is the first hop and the owner: delivered here.
    DeliveredFirstHop,
    /// Came encapsulated for this node alone: decapsulated and delivered here.
    DeliveredMember,
    /// Encapsulated and sent to the first member of its row that is to be asked.
    Sent,
    /// Another member's probe: stamped and left to this node's agent.
    Probe,
    /// Of several members that may have the flow this one has it, and is its row's opener: delivered here.
    FoundFirst,
    /// The same, but it was the opener before: the row's second place.
    FoundSecond,
    /// The same, but it was the opener before that: the row's third place.
    FoundThird,
    /// Of several members none has the flow: delivered to the last one asked, whose kernel refuses it.
    FoundNowhere,
    /// Can open a flow, and of several members none has it yet: delivered to the last one asked, the opener.
    Opened,
    /// Came encapsulated, but this member does not have the flow: sent on to the next one of its row.
    PassedOn,
    /// A ping of a VIP: answered here.
    Echoed,
    /// Too big for the way to its member once encapsulated: its sender was told how big it may be.
    ToldTooBig,
    /// A fragment, encapsulated and sent to its collector: the member at which its datagram's parts come together.
    ToCollector,
    /// A fragment that came before its datagram's first part: the agent holds it until that is there.
    Held,
    /// Too big for the way to its member once encapsulated, and may be fragmented: the agent does that.
    Cut,
    /// No hop was left to go to its member: its sender was told.
    ToldExpired,
    /// Lost, and why.
    Drop(DropReason),
}

impl Verdict {
    /// Every verdict, drops last.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::KEPT.into_iter().chain(DropReason::ALL.into_iter().map(Self::Drop))
    }

    const KEPT: [Self; 20] = [
        Self::NotForVip,
        Self::Unparsed,
        Self::OtherProtocol,
        Self::NoService,
        Self::DeliveredFirstHop,
        Self::DeliveredMember,
        Self::Sent,
        Self::Probe,
        Self::FoundFirst,
        Self::FoundSecond,
        Self::FoundThird,
        Self::FoundNowhere,
        Self::Opened,
        Self::PassedOn,
        Self::Echoed,
        Self::ToldTooBig,
        Self::ToCollector,
        Self::Held,
        Self::Cut,
        Self::ToldExpired,
    ];

    /// The index of this verdict's counter.
    #[inline(always)]
    #[must_use]
    pub const fn counter(self) -> u32 {
        match self {
            Self::NotForVip => 0,
            Self::Unparsed => 1,
            Self::OtherProtocol => 2,
            Self::NoService => 3,
            Self::DeliveredFirstHop => 4,
            Self::DeliveredMember => 5,
            Self::Sent => 6,
            Self::Probe => 7,
            Self::FoundFirst => FIRST_FOUND,
            Self::FoundSecond => FIRST_FOUND + 1,
            Self::FoundThird => FIRST_FOUND + 2,
            Self::FoundNowhere => 11,
            Self::Opened => 12,
            Self::PassedOn => 13,
            Self::Echoed => 14,
            Self::ToldTooBig => 15,
            Self::ToCollector => FIRST_DROP + DROPS,
            Self::Held => FIRST_DROP + DROPS + 1,
            Self::Cut => FIRST_DROP + DROPS + 2,
            Self::ToldExpired => FIRST_DROP + DROPS + 3,
            Self::Drop(reason) => FIRST_DROP + reason as u32,
        }
    }

    /// The metric label: lower case, words joined by `_`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotForVip => "not_for_vip",
            Self::Unparsed => "unparsed",
            Self::OtherProtocol => "other_protocol",
            Self::NoService => "no_service",
            Self::DeliveredFirstHop => "delivered_first_hop",
            Self::DeliveredMember => "delivered_member",
            Self::Sent => "sent",
            Self::Probe => "probe",
            Self::FoundFirst => "found_first",
            Self::FoundSecond => "found_second",
            Self::FoundThird => "found_third",
            Self::FoundNowhere => "found_nowhere",
            Self::Opened => "opened",
            Self::PassedOn => "passed_on",
            Self::Echoed => "echoed",
            Self::ToldTooBig => "told_too_big",
            Self::ToCollector => "to_collector",
            Self::Held => "held",
            Self::Cut => "cut",
            Self::ToldExpired => "told_expired",
            Self::Drop(reason) => reason.label(),
        }
    }
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal $label:literal,)+) => {
        /// Why a packet was lost.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u32)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of their counters.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$name),+];

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// One sentence for `explain` and the documentation.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The agent has not written its configuration into the maps yet.
    NotConfigured = 0 "not_configured",
    /// The Service's bucket has no member: no edge node takes new flows.
    NoMember = 1 "no_member",
    /// The row names a member whose address this node does not know.
    UnknownMember = 2 "unknown_member",
    /// The next hop towards the member has no resolved MAC address.
    NoNextHop = 3 "no_next_hop",
    /// The packet does not fit the path to the member once it is encapsulated, and its sender was not told: too often
    /// already, or by a member, or it is an ICMP error itself.
    TooBig = 4 "too_big",
    /// The driver left no room in front of the packet.
    NoHeadroom = 5 "no_headroom",
    /// A fragment for a VIP of which nobody can tell whose it is: its datagram's first part did not come in time, or it is of
    /// no protocol that has ports.
    Fragment = 6 "fragment",
    /// The Service's protocol has no listener on this node.
    NoLocalService = 7 "no_local_service",
    /// An encapsulated packet whose headers are cut short or contradict themselves.
    MalformedEncap = 8 "malformed_encap",
    /// An encapsulated packet of a wire format that this version does not speak.
    UnknownVersion = 9 "unknown_version",
    /// An encapsulated packet of another edgelb cluster on the same network.
    WrongCluster = 10 "wrong_cluster",
    /// An encapsulated packet without a right tag: forged, or made with another key.
    BadTag = 11 "bad_tag",
    /// An encapsulated packet whose chain leads on to a member that this node does not know, or such a member's probe.
    UnknownChain = 12 "unknown_chain",
    /// An encapsulated packet whose chain does not lead to this node, or a probe for another one.
    NotMyHop = 13 "not_my_hop",
    /// An encapsulated packet for an address that is not a VIP.
    NotAVip = 14 "not_a_vip",
    /// Congestion was marked outside on a packet that cannot carry the mark inside (RFC 6040).
    EcnLost = 15 "ecn_lost",
    /// An encapsulated packet whose chain names a member twice: it would come back.
    LoopingChain = 16 "looping_chain",
    /// For a port of a VIP that no Service names, more often than the kernel is to refuse such packets.
    RefusalLimit = 17 "refusal_limit",
    /// A fragment that hides a part of its datagram's transport header from whoever looks at the first one alone (RFC 1858, RFC
    /// 3128).
    TinyFragment = 18 "tiny_fragment",
    /// A fragment that came before its datagram's first part, and that the agent did not take: too many did.
    FragmentUnheld = 19 "fragment_unheld",
    /// A fragment that came before its datagram's first part, and that is too long to be held: its frame has more than 1,984
    /// bytes, as only links with a large MTU carry them.
    LongFragment = 20 "long_fragment",
    /// The packet's TTL or hop limit was used up before its member, and its sender was not told: too often already, or it is
    /// an ICMP error itself, or a fragment without ports.
    Expired = 21 "expired",
}

impl From<DropReason> for Verdict {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn counters_and_labels_are_distinct_and_fit() {
        let all: std::vec::Vec<_> = Verdict::all().collect();
        let counters: BTreeSet<_> = all.iter().map(|verdict| verdict.counter()).collect();
        let labels: BTreeSet<_> = all.iter().map(|verdict| verdict.label()).collect();
        assert_eq!(counters.len(), all.len());
        assert_eq!(labels.len(), all.len());
        assert!(counters.iter().all(|&counter| counter < COUNTERS));
        for verdict in all {
            assert_eq!(Counter::from(verdict).is_drop(), matches!(verdict, Verdict::Drop(_)), "{verdict:?}");
            let is_found =
                matches!(verdict, Verdict::FoundFirst | Verdict::FoundSecond | Verdict::FoundThird);
            assert_eq!(Counter::from(verdict).is_found(), is_found, "{verdict:?}");
        }
    }
}
