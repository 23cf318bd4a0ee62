//! A frame's headers in words: addresses as `explain` takes them.

use std::net::{IpAddr, SocketAddr};

use lb_common::encap::{HEADER_LEN, Header, INNER_V4};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: [u8; 2] = [1, 58];
const UDP_LEN: usize = 8;

/// IPv6 extension headers that are skipped.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;

/// TCP's flags as tcpdump shows them.
const FLAGS: [(u8, char); 6] = [(2, 'S'), (1, 'F'), (4, 'R'), (8, 'P'), (32, 'U'), (16, '.')];

/// Who sends what to whom in a frame that may be cut off.
pub(super) fn words(frame: &[u8]) -> String {
    frame_words(frame).unwrap_or_else(|| "a frame that is cut off in its headers".to_owned())
}

fn frame_words(frame: &[u8]) -> Option<String> {
    let mut at = 12;
    let mut tags = String::new();
    while let (0x8100 | 0x88a8, true) = (word(frame, at)?, tags.len() < 20) {
        tags += &format!("VLAN {} ", word(frame, at + 2)? & 0xfff);
        at += 4;
    }
    let packet = frame.get(at + 2..)?;
    match word(frame, at)? {
        0x0800 => Some(tags + &v4(packet)?),
        0x86dd => Some(tags + &v6(packet)?),
        0x0806 => Some(tags + "ARP"),
        other => Some(format!("{tags}ethertype {other:#06x}")),
    }
}

fn v4(packet: &[u8]) -> Option<String> {
    let ends = [IpAddr::from(bytes::<4>(packet, 12)?), bytes::<4>(packet, 16)?.into()];
    let is_part = word(packet, 6)? & 0x3fff != 0;
    let transport = packet.get(usize::from(packet[0] & 0xf) * 4..)?;
    transport_words(ends, packet[9], is_part, transport)
}

fn v6(packet: &[u8]) -> Option<String> {
    let ends = [IpAddr::from(bytes::<16>(packet, 8)?), bytes::<16>(packet, 24)?.into()];
    let (mut protocol, mut rest) = (packet[6], packet.get(40..)?);
    while EXTENSIONS.contains(&protocol) {
        let length = (usize::from(*rest.get(1)?) + 1) * 8;
        (protocol, rest) = (rest[0], rest.get(length..)?);
    }
    transport_words(ends, protocol, protocol == FRAGMENT, rest)
}

fn transport_words([from, to]: [IpAddr; 2], protocol: u8, is_part: bool, rest: &[u8]) -> Option<String> {
    if is_part {
        return Some(format!("{from} > {to} fragment"));
    }
    let ends = || {
        let (from, to) = (SocketAddr::new(from, word(rest, 0)?), SocketAddr::new(to, word(rest, 2)?));
        Some(format!("{from} > {to}"))
    };
    Some(match protocol {
        TCP => format!("{} tcp {}", ends()?, flags(*rest.get(13)?)),
        UDP => match carried(rest.get(UDP_LEN..)?) {
            Some(inner) => format!("{} carries {inner}", ends()?),
            None => format!("{} udp", ends()?),
        },
        _ if ICMP.contains(&protocol) => {
            format!("{from} > {to} icmp type {} code {}", rest.first()?, rest.get(1)?)
        }
        other => format!("{from} > {to} protocol {other}"),
    })
}

/// The packet in an encapsulated one.
fn carried(payload: &[u8]) -> Option<String> {
    let header = Header::from_bytes(bytes::<HEADER_LEN>(payload, 0)?);
    let packet = payload.get(HEADER_LEN..)?;
    match header.inner() {
        Ok(INNER_V4) => v4(packet),
        Ok(_) => v6(packet),
        Err(_) => None,
    }
}

fn flags(bits: u8) -> String {
    let set: String = FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect();
    format!("[{}]", if set.is_empty() { "none" } else { &set })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    self::bytes(bytes, at).map(u16::from_be_bytes)
}

fn bytes<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use lb_common::encap::Chain;
    use lb_common::hash::{FlowKey, KEY_WORDS};
    use lb_common::row::Row;

    use super::*;

    fn link(kind: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[2; 12], kind, packet].concat()
    }

    fn ip4(protocol: u8, fragment: u8, rest: &[u8]) -> Vec<u8> {
        let header = [0x45, 0, 0, 0, 0, 0, fragment, 0, 64, protocol, 0, 0, 192, 0, 2, 7, 203, 0, 113, 10];
        [&header[..], rest].concat()
    }

    fn ip6(protocol: u8, rest: &[u8]) -> Vec<u8> {
        let address = |last| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        [&[0x60, 0, 0, 0, 0, 0, protocol, 64], &address(7)[..], &address(10), rest].concat()
    }

    fn tcp(flags: u8) -> Vec<u8> {
        [&[0x9d, 0x78, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags], &[0; 6][..]].concat()
    }

    #[test]
    fn headers_are_told_in_words() {
        let ports = [0x9d, 0x78, 1, 0xbb, 0, 8, 0, 0];
        let header =
            Header::new(INNER_V4, Chain::to_opener(Row::of(7)), 0, &FlowKey::new([1; KEY_WORDS]), 0).bytes();
        let carrying = [&ports[..], &header, &ip4(6, 0, &tcp(2))].concat();
        for (frame, words) in [
            (link(&[8, 0], &ip4(6, 0, &tcp(2))), "192.0.2.7:40312 > 203.0.113.10:443 tcp [S]"),
            (link(&[0x86, 0xdd], &ip6(6, &tcp(0x18))), "[2001:db8::7]:40312 > [2001:db8::a]:443 tcp [P.]"),
            (link(&[8, 0], &ip4(6, 0, &tcp(0))), "192.0.2.7:40312 > 203.0.113.10:443 tcp [none]"),
            (link(&[8, 0], &ip4(17, 0, &ports)), "192.0.2.7:40312 > 203.0.113.10:443 udp"),
            (
                link(&[8, 0], &ip4(17, 0, &carrying)),
                "192.0.2.7:40312 > 203.0.113.10:443 carries 192.0.2.7:40312 > 203.0.113.10:443 tcp [S]",
            ),
            (link(&[8, 0], &ip4(1, 0, &[8, 0])), "192.0.2.7 > 203.0.113.10 icmp type 8 code 0"),
            (link(&[0x86, 0xdd], &ip6(58, &[128, 0])), "2001:db8::7 > 2001:db8::a icmp type 128 code 0"),
            (link(&[8, 0], &ip4(6, 0x20, &[])), "192.0.2.7 > 203.0.113.10 fragment"),
            (link(&[0x86, 0xdd], &ip6(44, &[6; 8])), "2001:db8::7 > 2001:db8::a fragment"),
            (
                link(&[0x86, 0xdd], &ip6(0, &[&[17, 0, 0, 0, 0, 0, 0, 0], &ports[..]].concat())),
                "[2001:db8::7]:40312 > [2001:db8::a]:443 udp",
            ),
            (link(&[8, 0], &ip4(47, 0, &[])), "192.0.2.7 > 203.0.113.10 protocol 47"),
            (link(&[0x81, 0, 0, 5, 8, 6], &[]), "VLAN 5 ARP"),
            (link(&[0x88, 0xcc], &[]), "ethertype 0x88cc"),
        ] {
            assert_eq!(super::words(&frame), words);
        }
    }

    #[test]
    fn what_is_cut_off_is_no_trouble() {
        let whole =
            link(&[0x81, 0, 0, 5, 0x86, 0xdd], &ip6(0, &[&[6, 0, 0, 0, 0, 0, 0, 0], &tcp(2)[..]].concat()));
        for length in 0..whole.len() {
            assert!(!words(&whole[..length]).is_empty());
        }
        assert_eq!(words(&whole[..20]), "a frame that is cut off in its headers");
    }
}
