//! Bytes on the wire, and what is no probe.

use super::*;
use crate::hash::{GOLDEN_KEY as KEY, KEY_WORDS};

const PROBE: Probe = Probe {
    kind: Kind::Answer,
    from: 0x0102,
    to: 0x0304,
    cluster: 0x0506_0708,
    sequence: 0x1112_1314_1516_1718,
    said: Said {
        is_draining: true,
        in_force: 0x2122_2324,
        needed: Some([0x2526_2728, 0x3132_3334, 0x3536_3738]),
        room: 0x090a_0b0c,
        inner_mtu: 0,
        was_away: false,
    },
    is_down: true,
};

const GOLDEN: [u8; LEN] = [
    0x2d, 0x80, 0, 0, // GUE
    1, 2, 7, 0, // version, kind, state
    5, 6, 7, 8, // cluster
    1, 2, 3, 4, // from, to
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // sequence
    0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, // in force, needed
    0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, // needed, needed
    9, 0xa, 0xb, 0xc, // room
    0, 0, 0, 0, // seen
    0x71, 0x96, 0xc3, 0x17, 0x40, 0xae, 0x93, 0xf3, // tag
];

#[test]
fn golden_bytes() {
    let message = Message::new(&PROBE, &KEY);
    assert_eq!(message.bytes(), GOLDEN);
    assert_eq!(Message::from_bytes(&GOLDEN), Some(message));
}

#[test]
fn a_message_gives_back_what_it_was_made_of() {
    for (kind, is_down) in [(Kind::Ask, false), (Kind::Answer, true)] {
        for said in [PROBE.said, Said { was_away: true, inner_mtu: 1452, ..Said::default() }] {
            let probe = Probe { kind, said, is_down, ..PROBE };
            let message = Message::new(&probe, &KEY);
            assert_eq!(message.probe(), Ok(probe));
            assert!(message.is_tagged(&KEY) && !message.is_stamped());
            assert!(!message.is_tagged(&FlowKey::new([3; KEY_WORDS])));
        }
    }
}

/// Two bytes that were 0 before, and which nobody looked at.
#[test]
fn who_knows_how_much_its_ways_take_says_it() {
    let said = Said { inner_mtu: 0x0d0e, ..PROBE.said };
    let bytes = Message::new(&Probe { said, ..PROBE }, &KEY).bytes();
    assert_eq!(bytes[..46], GOLDEN[..46]);
    assert_eq!(bytes[46..48], [0xd, 0xe]);
}

#[test]
fn each_bit_is_under_the_tag_or_refused() {
    for (at, bit) in (0..LEN).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = GOLDEN;
        bytes[at] ^= 1 << bit;
        let message = Message::from_bytes(&bytes).expect("as long as before");
        let is_believed = message.kind().is_ok() && message.is_tagged(&KEY);
        assert_eq!(is_believed, at == STAMP, "byte {at} bit {bit}");
    }
}

#[test]
fn the_stamp_is_what_the_receiver_looks_for() {
    let mut bytes = GOLDEN;
    bytes[STAMP..STAMP + 2].copy_from_slice(&STAMPED);
    let message = Message::from_bytes(&bytes).expect("as long as before");
    assert!(message.is_stamped() && message.is_tagged(&KEY));
    assert_eq!(message.kind(), Ok(Kind::Answer));
}

#[test]
fn foreign_messages_are_refused() {
    for (at, value, error) in [
        (0, 0x0d, HeaderError::NotGue), // data
        (0, 0x6d, HeaderError::NotGue), // another variant
        (0, 0x2c, HeaderError::NotGue), // shorter private data
        (1, 0, HeaderError::NotGue),    // another type
        (2, 0x80, HeaderError::NotGue), // optional fields
        (5, 5, HeaderError::NotGue),    // another kind
        (4, 2, HeaderError::Version),
    ] {
        let mut bytes = GOLDEN;
        bytes[at] = value;
        let message = Message::from_bytes(&bytes).expect("as long as before");
        assert_eq!(message.kind(), Err(error), "byte {at} = {value:#x}");
    }
    assert_eq!(Message::from_bytes(&GOLDEN[1..]), None);
    assert!(is_control(GOLDEN[0]) && !is_control(4));
}
