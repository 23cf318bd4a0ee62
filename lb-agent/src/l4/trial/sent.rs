//! What the packet path made of a packet that it sends to another member, read from the frame.

use std::net::{IpAddr, SocketAddr};

use lb_common::encap::{Chain, Direction, HEADER_LEN, Header, HeaderError, INNER_V4, INNER_V6};
use lb_common::hash::{Tuple, flow_hash};
use lb_common::row::MemberId;

use crate::l4::keys::Keys;

/// An encapsulated packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The member that it is for.
    pub to: MemberId,
    /// The members that are asked after it, in this order.
    pub then: Vec<MemberId>,
    /// Its place in the row, from 1 on.
    pub place: u8,
    /// Whether it walks from the row's last place to its opener.
    pub is_towards_opener: bool,
    /// Outer source.
    pub source: SocketAddr,
    /// Outer destination.
    pub destination: SocketAddr,
    /// MAC address of the next hop.
    pub next_hop: [u8; 6],
    /// Bytes of IP, outer header included.
    pub bytes: u64,
    /// Whether its tag is one that the member takes.
    pub is_tagged: bool,
}

/// Ethernet's addresses; what comes then says what follows.
const ADDRESSES: usize = 12;
const TAG: usize = 4;
const UDP: usize = 8;

/// Reads a frame with a packet of a flow.
pub(super) fn read(frame: &[u8], keys: &Keys, flow: &Tuple) -> Option<Sent> {
    let Outer { link, source, destination, transport } = outer(frame)?;
    let port = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let header = header(frame, transport)?;
    let (chain, is_tagged) =
        (header.chain(), keys.all().any(|key| header.is_tagged(key, flow_hash(key, flow))));
    let next = std::iter::successors(Some(chain.next()), |chain| Some(chain.next()));
    let then = next.map_while(Chain::target).filter(|&id| id != 0).collect();
    Some(Sent {
        to: chain.target()?,
        then,
        place: chain.hop + 1,
        is_towards_opener: chain.direction == Direction::ToOpener,
        source: SocketAddr::new(source, port(transport)?),
        destination: SocketAddr::new(destination, port(transport + 2)?),
        next_hop: frame.get(..6)?.try_into().ok()?,
        bytes: (frame.len() - link) as u64,
        is_tagged,
    })
}

/// The chain of a frame that this node sends.
pub(in crate::l4) fn chain(frame: &[u8]) -> Option<Chain> {
    let Outer { transport, .. } = outer(frame)?;
    header(frame, transport).map(|header| header.chain())
}

/// Outer headers, without options as the packet path writes them.
struct Outer {
    /// The link header's length.
    link: usize,
    source: IpAddr,
    destination: IpAddr,
    /// Where the UDP header starts.
    transport: usize,
}

fn outer(frame: &[u8]) -> Option<Outer> {
    let is_tag = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8]));
    let tags = (0..2).take_while(|tag| is_tag(ADDRESSES + TAG * tag)).count();
    let kind = ADDRESSES + TAG * tags;
    let link = kind + 2;
    let (source, destination, transport) = match frame.get(kind..link)? {
        [0x08, 0x00] => (address::<4>(frame, link + 12)?, address::<4>(frame, link + 16)?, link + 20),
        [0x86, 0xdd] => (address::<16>(frame, link + 8)?, address::<16>(frame, link + 24)?, link + 40),
        _ => return None,
    };
    Some(Outer { link, source, destination, transport })
}

fn address<const N: usize>(frame: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    let bytes: [u8; N] = frame.get(at..at + N)?.try_into().ok()?;
    Some(bytes.into())
}

/// Our header behind the UDP header at `transport`.
fn header(frame: &[u8], transport: usize) -> Option<Header> {
    let at = transport + UDP;
    let header = Header::from_bytes(frame.get(at..at + HEADER_LEN)?.try_into().ok()?);
    match header.inner() {
        Ok(INNER_V4 | INNER_V6) => Some(header),
        Ok(_) | Err(HeaderError::NotGue | HeaderError::Version) => None,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::hash::{FlowKey, KEY_WORDS, Ports};
    use lb_common::row::Row;

    use super::*;

    const KEY: FlowKey = FlowKey::new([0xd131_0ba6_98df_b5ac; KEY_WORDS]);
    const KEYS: Keys = Keys::only(KEY);

    fn flow(source: u32) -> Tuple {
        let ports = Ports { source: 1, destination: 2, protocol: 6 };
        Tuple::V4 { source, destination: 3, ports }
    }

    fn frame(chain: Chain) -> Vec<u8> {
        let header = Header::new(INNER_V4, chain, 0, &KEY, flow_hash(&KEY, &flow(99)));
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 88, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([0xd2, 0x34, 0x17, 0xc0, 0, 68, 0, 0]);
        frame.extend(header.bytes());
        frame.extend([0; 40]);
        frame
    }

    #[test]
    fn a_frame_says_to_whom_it_goes_and_who_is_next() {
        let row = Row::new([7, 8, 9]);
        let sent = read(&frame(Chain::start(row, Direction::ToOpener)), &KEYS, &flow(99)).expect("it is one");
        assert_eq!((sent.to, sent.place, &sent.then[..]), (9, 3, &[8, 7][..]));
        assert!(sent.is_towards_opener && sent.is_tagged);
        assert_eq!(sent.source.to_string(), "192.0.2.1:53812");
        assert_eq!(sent.destination.to_string(), "192.0.2.2:6080");
        assert_eq!((sent.next_hop, sent.bytes), ([2, 0, 0, 0, 0, 1], 88));
        let sent = read(&frame(Chain::to_opener(Row::of(7))), &KEYS, &flow(98)).expect("it is one");
        assert_eq!((sent.to, sent.then.len(), sent.is_tagged), (7, 0, false));
        let next = FlowKey::new([1; KEY_WORDS]);
        for (keys, is_tagged) in
            [(Keys { in_force: next, other: Some(KEY) }, true), (Keys::only(next), false)]
        {
            let sent = read(&frame(Chain::to_opener(Row::of(7))), &keys, &flow(99)).expect("it is one");
            assert_eq!(sent.is_tagged, is_tagged, "{keys:?}");
        }
    }

    #[test]
    fn tags_are_skipped() {
        let mut tagged = frame(Chain::to_opener(Row::of(7)));
        tagged.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]);
        assert_eq!(chain(&tagged).and_then(Chain::target), Some(7));
        assert_eq!(read(&tagged, &KEYS, &flow(99)).map(|sent| (sent.to, sent.bytes)), Some((7, 88)));
    }

    #[test]
    fn what_is_cut_or_other_is_nothing() {
        let whole = frame(Chain::to_opener(Row::of(7)));
        for length in [0, 12, 14, 40, 61] {
            assert_eq!(read(&whole[..length], &KEYS, &flow(99)), None, "{length} bytes");
        }
        let mut arp = whole;
        arp[13] = 6;
        assert_eq!(read(&arp, &KEYS, &flow(99)), None);
    }
}
