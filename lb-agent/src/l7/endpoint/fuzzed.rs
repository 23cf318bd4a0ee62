//! What has to hold of an endpoint's response, whatever its bytes are: how they are cut into pieces makes no difference.

use bytes::BytesMut;
use http::{HeaderMap, Response};

use super::framing::{Framing, Step};
use super::head;
use crate::l7::breach::Breach;
use crate::l7::guard::fuzzed::PIECES;

/// A response as it is taken from a connection.
#[derive(Default, Debug)]
struct Taken {
    response: Response<()>,
    keeps: Option<(bool, Option<u64>)>,
    body: Vec<u8>,
    trailers: HeaderMap,
    /// What is wrong, or whether it is whole.
    end: Option<Result<bool, Breach>>,
    /// Bytes behind it.
    left: usize,
}

/// What an endpoint sends, as the answer to GET and to HEAD.
pub fn endpoint(bytes: &[u8]) {
    for is_head in [false, true] {
        let whole = take(bytes, bytes.len().max(1), is_head);
        assert!(whole.body.len() + whole.left <= bytes.len(), "{whole:?}");
        assert!(!is_head || whole.body.is_empty(), "{whole:?}");
        for piece in PIECES {
            let pieces = take(bytes, piece, is_head);
            assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "by {piece}, HEAD: {is_head}");
        }
    }
}

fn take(bytes: &[u8], piece: usize, is_head: bool) -> Taken {
    let (mut taken, mut received, mut coming) = (Taken::default(), BytesMut::new(), bytes.chunks(piece));
    let end = take_from(&mut taken, &mut received, &mut coming, is_head);
    if end.is_ok() {
        taken.left = received.len() + coming.map(<[u8]>::len).sum::<usize>();
    }
    taken.end = Some(end);
    taken
}

fn take_from<'b>(
    taken: &mut Taken,
    received: &mut BytesMut,
    coming: &mut impl Iterator<Item = &'b [u8]>,
    is_head: bool,
) -> Result<bool, Breach> {
    let mut receive =
        |received: &mut BytesMut| coming.next().map(|more| received.extend_from_slice(more)).is_some();
    let mut framing = loop {
        match head::parse(received, is_head, &mut HeaderMap::new())? {
            Some(head) if head.response.status().is_informational() && !head.switches() => {}
            Some(head) => {
                taken.keeps = Some((head.keeps_alive, head.keeps_for));
                taken.response = head.response;
                break head.framing;
            }
            None if receive(received) => {}
            None => return Ok(false),
        }
    };
    loop {
        match framing.step(received)? {
            Step::Part(part) => taken.body.extend_from_slice(&part),
            Step::Trailers(trailers) => {
                taken.trailers = trailers;
                return Ok(true);
            }
            Step::End => return Ok(true),
            Step::More(_) if receive(received) => {}
            Step::More(_) => return Ok(framing == Framing::UntilClose),
        }
    }
}
