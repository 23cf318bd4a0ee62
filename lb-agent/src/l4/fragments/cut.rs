//! Cuts an IPv4 packet into fragments (RFC 791), as a router on its way would. Pure.

use lb_common::checksum::{finish, sum};

const MIN_LEN: usize = 20;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A fragment's place counts in these.
const UNIT: usize = 8;

/// Where a header has the field of flags and offset, and the checksum.
const FIELD: usize = 6;
const CHECKSUM: usize = 10;

/// The option's bit that says that each fragment has it.
const COPIED: u8 = 0x80;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;

/// The fragments of `packet`, each of `room` bytes at most; `None` if it is malformed or must not be cut, or if there is
/// no room. It may be a fragment itself.
pub(super) fn cut(packet: &[u8], room: usize) -> Option<Vec<Vec<u8>>> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (header, data) = packet.get(..usize::from(word(2)?))?.split_at_checked(header_len)?;
    let field = word(FIELD)?;
    if header_len < MIN_LEN || field & DONT_FRAGMENT != 0 {
        return None;
    }
    let others = copied(header);
    let mut fragments = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let header = if fragments.is_empty() { header } else { &others };
        let space = room.checked_sub(header.len())?;
        let len = if rest.len() <= space { rest.len() } else { space / UNIT * UNIT };
        if len == 0 {
            return None;
        }
        let before = usize::from(field & OFFSET) + (data.len() - rest.len()) / UNIT;
        let (part, left) = rest.split_at(len);
        let is_last = left.is_empty() && field & MORE == 0;
        let place = u16::try_from(before).ok().filter(|&before| before <= OFFSET)?;
        fragments.push(fragment(header, part, place | if is_last { 0 } else { MORE }));
        rest = left;
    }
    Some(fragments)
}

fn fragment(header: &[u8], data: &[u8], field: u16) -> Vec<u8> {
    let mut bytes = [header, data].concat();
    let len = bytes.len() as u16;
    bytes[0] = 0x40 | (header.len() / 4) as u8;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes[FIELD..FIELD + 2].copy_from_slice(&field.to_be_bytes());
    bytes[CHECKSUM..CHECKSUM + 2].fill(0);
    let check = finish(sum(&bytes[..header.len()]));
    bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// The header with those options only that every fragment has. They end where one is malformed.
fn copied(header: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = header.split_at(MIN_LEN);
    let mut kept = fixed.to_vec();
    while let Some((option, rest)) = first_option(options) {
        if option[0] & COPIED != 0 {
            kept.extend(option);
        }
        options = rest;
    }
    kept.resize(kept.len().next_multiple_of(4), END_OF_OPTIONS);
    kept
}

fn first_option(options: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = match *options.first()? {
        END_OF_OPTIONS => return None,
        NO_OPERATION => 1,
        _ => usize::from(*options.get(1)?).max(2),
    };
    options.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(field: u16, options: &[u8], len: usize) -> Vec<u8> {
        let mut header = vec![0x45 + (options.len() / 4) as u8, 0, 0, 0, 0x12, 0x34];
        header.extend(field.to_be_bytes());
        header.extend([64, 17, 0, 0, 192, 0, 2, 1, 203, 0, 113, 10]);
        header.extend(options);
        let total = (header.len() + len) as u16;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header.extend((0..len).map(|byte| byte as u8));
        header
    }

    /// Header, field and data of a fragment that is right by itself.
    fn parts(fragment: &[u8]) -> (&[u8], u16, &[u8]) {
        let (header, data) = fragment.split_at(usize::from(fragment[0] & 15) * 4);
        assert_eq!(finish(sum(header)), 0, "checksum");
        assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), fragment.len());
        (header, u16::from_be_bytes([header[6], header[7]]), data)
    }

    proptest! {
        #[test]
        fn fragments_fit_and_are_the_whole(len in 1_usize..3_000, room in 68_usize..1_500, more: bool, before in 0_u16..4_000) {
            let field = before | if more { MORE } else { 0 };
            let whole = packet(field, &[], len);
            let fragments = cut(&whole, room).expect("it may be cut");
            let mut data = Vec::new();
            for (index, fragment) in fragments.iter().enumerate() {
                prop_assert!(fragment.len() <= room);
                let (header, field, part) = parts(fragment);
                prop_assert_eq!(&header[4..6], &[0x12, 0x34]);
                prop_assert_eq!(usize::from(field & OFFSET), usize::from(before) + data.len() / 8);
                let is_last = index + 1 == fragments.len();
                prop_assert_eq!(field & MORE != 0, more || !is_last);
                prop_assert!(is_last || part.len() % 8 == 0);
                data.extend_from_slice(part);
            }
            prop_assert_eq!(&data, &whole[20..]);
        }
    }

    #[test]
    fn options_are_in_every_fragment_if_they_say_so() {
        // Record route (not copied), no operation, loose source route (copied), end.
        let options = [7, 3, 4, 1, 131, 3, 4, 0];
        let fragments = cut(&packet(0, &options, 100), 80).expect("it may be cut");
        assert_eq!(parts(&fragments[0]).0[20..], options);
        assert_eq!(parts(&fragments[1]).0[20..], [131, 3, 4, 0]);
        let plain = cut(&packet(0, &[1, 1, 7, 2], 100), 80).expect("it may be cut");
        assert_eq!(parts(&plain[1]).0.len(), 20);
        let malformed = cut(&packet(0, &[148, 4, 0, 0, 131, 9, 4, 0], 100), 80).expect("it may be cut");
        assert_eq!(parts(&malformed[1]).0[20..], [148, 4, 0, 0], "what is beyond the header is left out");
    }

    #[test]
    fn what_must_not_or_cannot_be_cut() {
        assert!(cut(&packet(DONT_FRAGMENT, &[], 100), 80).is_none());
        assert!(cut(&packet(0, &[], 100), 27).is_none(), "no room for eight bytes");
        assert!(cut(&packet(OFFSET, &[], 100), 80).is_none(), "beyond the longest packet");
        assert!(cut(&packet(0, &[], 100)[..90], 80).is_none(), "cut short");
        assert!(cut(&[], 80).is_none());
        let padded = [packet(0, &[], 30), vec![0; 9]].concat();
        assert_eq!(cut(&padded, 80).expect("it may be cut").len(), 1, "padding is no part of it");
    }
}
