//! What the kernel tells of a packet, read.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::capture::{HEAD, PACKET};

use super::super::trial::chain;
use crate::model::{Captured, Hop};

/// What a record is read with: what of this node it does not say itself.
#[derive(Debug)]
pub(super) struct Reader {
    /// Names of interfaces.
    pub(super) interfaces: BTreeMap<u32, String>,
    /// What the monotonic clock is behind the time since 1970.
    pub(super) offset: Duration,
}

impl Reader {
    /// The packet of a record; `None` if it is none.
    pub(super) fn read(&self, record: &[u8]) -> Option<Captured> {
        let (head, packet) = record.split_at_checked(PACKET)?;
        let (numbers, head) = head.split_at_checked(PACKET - HEAD)?;
        let (at, numbers) = numbers.split_first_chunk()?;
        let mut words = numbers.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
        let mut next = || words.next();
        let (index, verdict, length, kept, sent) = (next()?, next()?, next()?, next()?, next()?);
        let name = self.interfaces.get(&index).cloned();
        Some(Captured {
            at: self.offset + Duration::from_nanos(u64::from_ne_bytes(*at)),
            interface: name.unwrap_or_else(|| format!("interface {index}")),
            verdict,
            hop: head.get(..sent as usize).and_then(hop),
            packet: packet.get(..kept as usize)?.to_vec(),
            length,
        })
    }
}

/// To whom a frame goes, if it is encapsulated.
fn hop(frame: &[u8]) -> Option<Hop> {
    let chain = chain(frame)?;
    let of = chain.row.members().into_iter().filter(|&id| id != 0).count() as u8;
    Some(Hop { member: chain.target()?, place: chain.hop + 1, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sent: u32, packet: &[u8]) -> Vec<u8> {
        let mut bytes = 5_000_u64.to_ne_bytes().to_vec();
        for word in [3, 6, 1500, packet.len() as u32, sent, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.resize(PACKET, 0);
        bytes.extend(packet);
        bytes
    }

    #[test]
    fn a_record_is_read() {
        let interfaces = BTreeMap::from([(3, "uplink".to_owned())]);
        let reader = Reader { interfaces, offset: Duration::from_secs(1) };
        let captured = reader.read(&record(0, &[1, 2, 3])).expect("it is one");
        assert_eq!(captured.at, Duration::new(1, 5_000));
        assert_eq!((captured.interface.as_str(), captured.verdict, captured.length), ("uplink", 6, 1500));
        assert_eq!((captured.packet.as_slice(), captured.hop), (&[1, 2, 3][..], None));
        let cut = record(0, &[1, 2, 3]);
        for length in [0, 7, PACKET - 1, PACKET + 2] {
            assert_eq!(reader.read(&cut[..length]), None, "{length} bytes");
        }
    }
}
