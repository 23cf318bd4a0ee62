//! The filter as the kernel has it.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::capture::{Filter, ICMP, MAX_SNAP, family};

use super::super::wanted::words;
use crate::model::{CaptureEnd, CaptureFilter, CaptureProtocol, Protocol};

/// For the map of the filter.
pub(super) fn packed(filter: &CaptureFilter) -> Filter {
    let CaptureFilter { from, to, protocol, verdicts, sample, snap, count } = filter;
    let (source, source_mask) = addresses(from.as_ref());
    let (destination, destination_mask) = addresses(to.as_ref());
    let family = match from.as_ref().or(to.as_ref()).map(|end| end.addresses) {
        None => family::ANY,
        Some(IpNet::V4(_)) => family::V4,
        Some(IpNet::V6(_)) => family::V6,
    };
    let port = |end: &Option<CaptureEnd>| end.and_then(|end| end.port).unwrap_or_default().to_be();
    Filter {
        source,
        source_mask,
        destination,
        destination_mask,
        verdicts: *verdicts,
        count: *count,
        sample: *sample,
        snap: (*snap).min(MAX_SNAP as u32),
        source_port: port(from),
        destination_port: port(to),
        family,
        protocol: match protocol {
            None => 0,
            Some(CaptureProtocol::Tcp) => Protocol::Tcp.number().into(),
            Some(CaptureProtocol::Udp) => Protocol::Udp.number().into(),
            Some(CaptureProtocol::Icmp) => ICMP,
        },
    }
}

/// Their common bits, and which these are.
fn addresses(end: Option<&CaptureEnd>) -> ([u64; 2], [u64; 2]) {
    end.map_or_else(Default::default, |end| (bits(end.addresses.network()), bits(end.addresses.netmask())))
}

fn bits(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()).into(), 0],
        IpAddr::V6(address) => words(address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(from: &str, to: &str) -> Filter {
        let end = |text: &str| (!text.is_empty()).then(|| text.parse().expect(text));
        let filter = CaptureFilter {
            from: end(from),
            to: end(to),
            protocol: Some(CaptureProtocol::Udp),
            verdicts: 3,
            sample: 4,
            snap: 64,
            count: 9,
        };
        packed(&filter)
    }

    #[test]
    fn masks_are_in_network_order() {
        let found = filter("192.0.2.99/24:443", "");
        assert_eq!(found.source, [u32::from_ne_bytes([192, 0, 2, 0]).into(), 0]);
        assert_eq!(found.source_mask, [u32::from_ne_bytes([255, 255, 255, 0]).into(), 0]);
        assert_eq!((found.destination_mask, found.source_port), ([0, 0], 443_u16.to_be()));
        assert_eq!((found.family, found.protocol, found.destination_port), (family::V4, 17, 0));
        let found = filter("", "2001:db8::/32");
        assert_eq!(found.destination_mask, [u64::from_ne_bytes([255, 255, 255, 255, 0, 0, 0, 0]), 0]);
        assert_eq!((found.family, found.source), (family::V6, [0, 0]));
        assert_eq!((found.verdicts, found.sample, found.snap, found.count), (3, 4, 64, 9));
    }
}
