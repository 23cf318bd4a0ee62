//! Ids of requests: the client's own where it is sane, else 128 random bits in hexadecimal.

use std::cell::RefCell;

use bytes::BytesMut;
use fastrand::Rng;
use http::{HeaderMap, HeaderValue};

use super::reply::X_REQUEST_ID;

const LENGTH: usize = 32;
/// Ids cut from one allocation.
const BATCH: usize = 64;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A worker's source of ids: unique among all nodes, not secret.
pub(super) struct RequestIds {
    rng: RefCell<Rng>,
    buffer: RefCell<BytesMut>,
}

impl RequestIds {
    /// Ids from a seed that no other worker of any node has.
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: RefCell::new(Rng::with_seed(seed)), buffer: RefCell::new(BytesMut::new()) }
    }

    /// The request's id, taken over or made and set. One that comes twice is none: who reads it may take the other.
    pub(super) fn settle(&self, headers: &mut HeaderMap) -> HeaderValue {
        let mut said = headers.get_all(X_REQUEST_ID).iter();
        if let (Some(id), None) = (said.next(), said.next())
            && is_sane(id.as_bytes())
        {
            return id.clone();
        }
        let id = self.make();
        headers.insert(X_REQUEST_ID, id.clone());
        id
    }

    /// Ids for a trace and a span of it. Zero is none (W3C Trace Context).
    pub(super) fn trace_and_span(&self) -> (u128, u64) {
        let mut rng = self.rng.borrow_mut();
        (rng.u128(1..), rng.u64(1..))
    }

    /// A new one.
    pub(super) fn make(&self) -> HeaderValue {
        let mut rng = self.rng.borrow_mut();
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() < LENGTH {
            *buffer = BytesMut::with_capacity(LENGTH * BATCH);
        }
        for mut word in [rng.u64(..), rng.u64(..)] {
            let mut digits = [0; 16];
            for digit in &mut digits {
                *digit = HEX[usize::from(word as u8 & 15)];
                word >>= 4;
            }
            buffer.extend_from_slice(&digits);
        }
        HeaderValue::from_maybe_shared(buffer.split().freeze()).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Nothing that a log or a header of a backend could misread.
fn is_sane(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/@".contains(byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn settled(ids: &RequestIds, sent: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(sent) = sent {
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(sent).expect("header value"));
        }
        let id = ids.settle(&mut headers);
        assert_eq!(headers.get(X_REQUEST_ID), Some(&id), "the backend sees the same id");
        id.to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let ids = RequestIds::new(1);
        assert_eq!(settled(&ids, Some("1-67891233-abcdef")), "1-67891233-abcdef");
        for sent in [None, Some(""), Some("a b"), Some("\"x\""), Some(&*"x".repeat(129))] {
            let id = settled(&ids, sent);
            assert!(id.len() == LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
    }

    #[test]
    fn one_that_comes_twice_is_replaced_by_one() {
        let mut headers = HeaderMap::new();
        for id in ["a", "b"] {
            headers.append(X_REQUEST_ID, HeaderValue::from_static(id));
        }
        let id = RequestIds::new(1).settle(&mut headers);
        assert_eq!(headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
        assert_eq!(id.len(), LENGTH);
    }

    #[test]
    fn made_ids_differ() {
        let ids = RequestIds::new(1);
        let made: HashSet<_> = (0..1000).map(|_| settled(&ids, None)).collect();
        assert_eq!(made.len(), 1000);
    }
}
