//! What has to hold of the guards, whatever a client's bytes are: how they are cut into pieces makes no difference.

use std::time::{Duration, Instant};

use http::{Method, Uri};

use super::fault::Fault;
use super::http1::Scanner;
use super::http2::Meter;
use crate::l7::limits::Limits;
use crate::l7::line::{self, RequestLine};

/// Bytes at a time.
pub(in crate::l7) const PIECES: [usize; 4] = [1, 2, 7, 64];

/// A client's messages of HTTP/1.
pub fn http1(bytes: &[u8]) {
    let scan = |piece: usize| -> Option<Fault> {
        let mut scanner = Scanner::new(Limits::default());
        bytes.chunks(piece).find_map(|bytes| {
            let stop = scanner.advance(bytes).err()?;
            assert!(stop.good <= bytes.len(), "{stop:?}");
            Some(stop.fault)
        })
    };
    let whole = scan(bytes.len().max(1));
    PIECES.into_iter().for_each(|piece| assert_eq!(scan(piece), whole, "by {piece}"));
    bytes.split_inclusive(|byte| *byte == b'\n').for_each(request_line);
}

/// A line that passes as that of a request: the HTTP library has nothing against it.
fn request_line(line: &[u8]) {
    let Ok(text) = line::text(line) else { return };
    if RequestLine::parse(text).is_ok() {
        let mut words = text.split(|byte| *byte == b' ');
        assert!(words.next().is_some_and(|method| Method::from_bytes(method).is_ok()), "{text:?}");
        let target = words.next().and_then(|target| std::str::from_utf8(target).ok());
        assert!(target.is_some_and(|target| target.parse::<Uri>().is_ok()), "{text:?}");
    }
}

/// A client's frames of HTTP/2, and ours.
pub fn http2(bytes: &[u8]) {
    // So that no time passes for it.
    let later = Instant::now() + Duration::from_secs(3600);
    let meter = |piece: usize| {
        let mut meter = Meter::new(Limits::default(), later);
        let met = bytes.chunks(piece).find_map(|bytes| meter.advance(bytes).err());
        bytes.chunks(piece).for_each(|bytes| meter.wrote(bytes));
        (met, meter.unfinished(), meter.refused())
    };
    let whole = meter(bytes.len().max(1));
    PIECES.into_iter().for_each(|piece| assert_eq!(meter(piece), whole, "by {piece}"));
}
