//! What an interface's driver does for the stack, over the kernel's `ethtool` and `netdev` families.

use std::collections::BTreeSet;

use rtnetlink::packet_core::{Emitable, NLA_F_NESTED};

use super::generic::{Attribute, Family, each, find};
use super::read::{Fact, Unread};

/// linux/ethtool_netlink.h
mod ethtool {
    pub(super) const FEATURES_GET: u8 = 11;
    pub(super) const FEATURES_HEADER: u16 = 1;
    pub(super) const FEATURES_ACTIVE: u16 = 4;
    pub(super) const HEADER_DEV_INDEX: u16 = 1;
    pub(super) const BITSET_BITS: u16 = 3;
    pub(super) const BITSET_BIT_NAME: u16 = 2;
}

/// linux/netdev.h, Linux 6.3
mod netdev {
    pub(super) const DEV_GET: u8 = 1;
    pub(super) const DEV_IFINDEX: u16 = 1;
    pub(super) const DEV_XDP_FEATURES: u16 = 3;
    pub(super) const XDP_BASIC: u64 = 1;
    pub(super) const XDP_NDO_XMIT: u64 = 4;
}

/// What a driver can do with XDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct XdpFeatures {
    /// It runs programs by itself.
    pub(super) is_native: bool,
    /// It sends frames that were redirected to it.
    pub(super) can_transmit: bool,
}

/// The names of the offloads that are on, as `ethtool -k` knows them.
pub(super) fn active(index: u32) -> Fact<BTreeSet<String>> {
    let device = Attribute::new(ethtool::HEADER_DEV_INDEX, index.to_ne_bytes().to_vec());
    let header = Attribute::new(ethtool::FEATURES_HEADER | NLA_F_NESTED, bytes(&device));
    let answer = Family::open("ethtool")?.ask(ethtool::FEATURES_GET, &[header])?;
    Ok(names(&answer))
}

/// What the driver can do with XDP; `Missing` from kernels that cannot tell.
pub(super) fn xdp(index: u32) -> Fact<XdpFeatures> {
    let device = Attribute::new(netdev::DEV_IFINDEX, index.to_ne_bytes().to_vec());
    let answer = Family::open("netdev")?.ask(netdev::DEV_GET, &[device])?;
    let bits = find(&answer, netdev::DEV_XDP_FEATURES).and_then(|bits| bits.value().try_into().ok());
    let bits = u64::from_ne_bytes(bits.ok_or(Unread::Missing)?);
    Ok(XdpFeatures {
        is_native: bits & netdev::XDP_BASIC != 0,
        can_transmit: bits & netdev::XDP_NDO_XMIT != 0,
    })
}

fn bytes(attribute: &Attribute) -> Vec<u8> {
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// The set bits' names of a verbose bit set without a mask.
fn names(answer: &[u8]) -> BTreeSet<String> {
    let Some(active) = find(answer, ethtool::FEATURES_ACTIVE) else { return BTreeSet::new() };
    let Some(bits) = find(active.value(), ethtool::BITSET_BITS) else { return BTreeSet::new() };
    let name = |bit: &[u8]| {
        let name = find(bit, ethtool::BITSET_BIT_NAME)?;
        Some(String::from_utf8_lossy(name.value()).trim_end_matches('\0').to_owned())
    };
    each(bits.value()).filter_map(|bit| name(bit.value())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every network namespace has a loopback, and its index is 1.
    #[test]
    fn loopback_tells_its_offloads() {
        let active = active(1).expect("the kernel has ethtool over netlink");
        assert!(active.contains("loopback"), "{active:?}");
        assert!(!active.contains("rx-lro"), "{active:?}");
    }

    #[test]
    fn a_missing_interface_is_an_error() {
        assert!(active(0x7fff_ffff).is_err());
    }
}
