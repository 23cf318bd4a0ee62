//! Tables of what passes and what does not, whole and in pieces.

use std::time::Instant;

use proptest::prelude::{any, prop, proptest};
use proptest::prop_assert_eq;

use super::fault::{Fault, Malformed};
use super::http1::{Scanner, Stop};
use super::http2::Meter;
use crate::l7::limits::{Limit, Limits, Setting};

fn limits(settings: &[&str]) -> Limits {
    settings.iter().map(|text| text.parse::<Setting>().expect("a setting")).collect()
}

fn scan(limits: Limits, bytes: &[u8]) -> Result<(), Stop> {
    Scanner::new(limits).advance(bytes)
}

/// The same bytes one by one: the fault is the same, whatever came together.
fn fault_in_pieces(limits: Limits, bytes: &[u8], piece: usize) -> Option<Fault> {
    let mut scanner = Scanner::new(limits);
    bytes.chunks(piece).find_map(|bytes| scanner.advance(bytes).err()).map(|stop| stop.fault)
}

fn check(bytes: &str, expected: Option<Malformed>) {
    let bytes = bytes.as_bytes();
    let expected = expected.map(Fault::Malformed);
    assert_eq!(scan(Limits::default(), bytes).err().map(|stop| stop.fault), expected, "{bytes:?}");
    for piece in [1, 2, 3, 7] {
        assert_eq!(fault_in_pieces(Limits::default(), bytes, piece), expected, "by {piece}: {bytes:?}");
    }
}

#[test]
fn well_formed_messages_pass() {
    for bytes in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\ta\t\r\nx:\r\nx-y_z!: \u{e9}\r\n\r\nGET /b?c HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\na\nb\r\0PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n\n\r\n\0x\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nx: y\r\n\r\n\r\nG",
        "OPTIONS * HTTP/1.1\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n",
    ] {
        check(bytes, None);
    }
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    use Malformed as M;
    let head = |line: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n");
    for (line, expected) in [
        ("content-length: 5\r\ncontent-length: 5", M::RepeatedLength),
        ("content-length: 5, 5", M::BadLength),
        ("content-length: +5", M::BadLength),
        ("content-length: 0x5", M::BadLength),
        ("content-length: -1", M::BadLength),
        ("content-length:", M::BadLength),
        ("content-length: 5 5", M::BadLength),
        ("content-length: 99999999999999999999", M::BadLength),
        ("content-length: 5\r\ntransfer-encoding: chunked", M::LengthAndCoding),
        ("transfer-encoding: chunked\r\ncontent-length: 0", M::LengthAndCoding),
        ("transfer-encoding: gzip, chunked", M::UnknownCoding),
        ("transfer-encoding: chunked, chunked", M::UnknownCoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", M::UnknownCoding),
        ("transfer-encoding: identity", M::UnknownCoding),
        ("transfer-encoding: xchunked", M::UnknownCoding),
        ("transfer-encoding: \"chunked\"", M::UnknownCoding),
        ("transfer-encoding:\u{b}chunked", M::ControlByte),
        ("transfer-encoding : chunked", M::HeaderName),
        ("transfer-encoding\t: chunked", M::HeaderName),
        ("x: y\r\n transfer-encoding: chunked", M::FoldedHeader),
        ("x: y\r\n\tz", M::FoldedHeader),
        (": y", M::HeaderName),
        ("x y: z", M::HeaderName),
        ("x", M::HeaderName),
        ("x\u{e9}: y", M::HeaderName),
        ("x: a\0b", M::ControlByte),
        ("x: a\rb", M::BareCr),
        ("x: a\r\r\ny: b", M::BareCr),
        ("x: y\nz: a", M::BareLf),
    ] {
        check(&head(line), Some(expected));
    }
    for (bytes, expected) in [
        ("GET / HTTP/1.1\nhost: a\n\n", M::BareLf),
        ("\nGET / HTTP/1.1\r\n\r\n", M::BareLf),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", M::RequestLine),
        ("GET /\r\n\r\n", M::RequestLine),
        ("GET  / HTTP/1.1\r\n\r\n", M::RequestLine),
        ("GET / a HTTP/1.1\r\n\r\n", M::RequestLine),
        (" GET / HTTP/1.1\r\n\r\n", M::RequestLine),
        ("G(T / HTTP/1.1\r\n\r\n", M::RequestLine),
        ("GET /\tx HTTP/1.1\r\n\r\n", M::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n", M::RequestLine),
        ("GET / HTTP/1.2\r\n\r\n", M::Version),
        ("GET / HTTP/2.0\r\n\r\n", M::Version),
        ("GET / http/1.1\r\n\r\n", M::RequestLine),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", M::CodingInOldVersion),
    ] {
        check(bytes, Some(expected));
    }
}

#[test]
fn chunks_say_their_sizes_and_keep_to_them() {
    use Malformed as M;
    for (body, expected) in [
        ("5 \r\nabcde\r\n", M::ChunkSize),
        (" 5\r\nabcde\r\n", M::ChunkSize),
        ("+5\r\n", M::ChunkSize),
        ("0x5\r\n", M::ChunkSize),
        ("\r\n", M::ChunkSize),
        (";x\r\n", M::ChunkSize),
        ("1000000000000000\r\n", M::ChunkSize),
        ("5\nabcde\r\n", M::BareLf),
        ("5;x\nabcde\r\n", M::BareLf),
        ("5;\0\r\n", M::ControlByte),
        ("5\r\nabcde0\r\n", M::ChunkEnd),
        ("5\r\nabcdefgh", M::ChunkEnd),
        ("5\r\nabcde\n0\r\n", M::BareLf),
        ("0\r\ncontent-length: 5\r\n\r\n", M::Trailer),
        ("0\r\nHost: b\r\n\r\n", M::Trailer),
        ("0\r\n x: y\r\n\r\n", M::FoldedHeader),
        ("0\r\nx\r\n\r\n", M::HeaderName),
    ] {
        check(&format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}"), Some(expected));
    }
}

#[test]
fn what_comes_before_a_fault_is_passed_on() {
    let first = "POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\nab";
    let stop = |bytes: &str| scan(Limits::default(), bytes.as_bytes()).expect_err(bytes);
    let between = stop(&format!("{first}GET /b HTTP/1.1\r\nx : y\r\n\r\n"));
    assert_eq!((between.good, between.in_body), (first.len(), false));
    let chunk = "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n";
    let within = stop(&format!("{chunk}x\r\n"));
    assert_eq!((within.good, within.in_body), (chunk.len(), true));
    // Of a head that began earlier, nothing is passed on any more.
    let mut scanner = Scanner::new(Limits::default());
    scanner.advance(b"GET / HTTP/1.1\r\nx: y\r\nz").expect("well-formed");
    assert_eq!(scanner.advance(b" : y\r\n\r\n").expect_err("a fault").good, 0);
}

#[test]
fn each_limit_of_http1_is_met_and_not_before() {
    let chunks = |body: String| format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let of = |limit: Limit, length: usize| match limit {
        Limit::HeadBytes => format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(length - 23)),
        Limit::Headers => format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(length)),
        Limit::TargetBytes => format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 1)),
        Limit::ChunkExtensionBytes => {
            chunks(format!("1;{}\r\na\r\n1;{}\r\n", "x".repeat(9), "y".repeat(length - 11)))
        }
        Limit::TrailerBytes => chunks(format!("0\r\nx: {}\r\n\r\n", "y".repeat(length - 7))),
        other => unreachable!("{other} is of HTTP/2"),
    };
    for (limit, length) in [
        (Limit::HeadBytes, 1000),
        (Limit::Headers, 10),
        (Limit::TargetBytes, 100),
        (Limit::ChunkExtensionBytes, 50),
        (Limit::TrailerBytes, 100),
    ] {
        let limits = limits(&[&format!("{limit}={length}")]);
        assert_eq!(scan(limits, of(limit, length).as_bytes()), Ok(()), "{limit}");
        let over = of(limit, length + 1);
        for piece in [1, over.len()] {
            assert_eq!(
                fault_in_pieces(limits, over.as_bytes(), piece),
                Some(limit.into()),
                "{limit} by {piece}"
            );
        }
    }
}

#[test]
fn trailers_are_no_more_than_headers_may_be() {
    let limits = limits(&["headers=3"]);
    let of = |trailers: usize| {
        let trailers = "x: y\r\n".repeat(trailers);
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{trailers}\r\n")
    };
    assert_eq!(scan(limits, of(3).as_bytes()), Ok(()));
    let stop = scan(limits, of(4).as_bytes()).expect_err("one too many");
    assert_eq!((stop.fault, stop.in_body), (Limit::Headers.into(), true));
}

#[test]
fn a_head_is_measured_by_itself() {
    let limits = limits(&["head-bytes=100"]);
    let head = |target: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(target));
    let chunks = "transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n";
    for first in [
        head(70),
        format!("POST / HTTP/1.1\r\ncontent-length: 5\r\nx: {}\r\n\r\nhello", "y".repeat(50)),
        format!("POST / HTTP/1.1\r\n{chunks}"),
    ] {
        let both = [first.clone(), head(70)].concat();
        assert_eq!(scan(limits, both.as_bytes()), Ok(()), "{first}");
        assert_eq!(fault_in_pieces(limits, both.as_bytes(), 1), None, "{first}");
    }
}

#[test]
fn a_line_without_an_end_is_not_kept_for_ever() {
    for (before, limit) in [
        ("", Limit::HeadBytes),
        ("GET / HTTP/1.1\r\n", Limit::HeadBytes),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", Limit::ChunkExtensionBytes),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", Limit::TrailerBytes),
    ] {
        let endless = before.to_owned() + &"1".repeat(1 << 17);
        assert_eq!(
            fault_in_pieces(Limits::default(), endless.as_bytes(), 1000),
            Some(limit.into()),
            "{before:?}"
        );
    }
}

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let [_, _, _, _, _, a, b, c] = (length as u64).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
    frame.resize(frame.len() + length, 0xff);
    frame
}

/// What a client is stopped by that sends these frames, each so many times.
fn metered(limits: Limits, frames: &[(Vec<u8>, usize)], piece: usize) -> Option<Limit> {
    let mut meter = Meter::new(limits, Instant::now());
    let mut bytes = vec![0; 24];
    bytes.extend(frames.iter().flat_map(|(frame, times)| frame.repeat(*times)));
    bytes.chunks(piece).find_map(|bytes| meter.advance(bytes).err())
}

#[test]
fn floods_of_http2_reach_their_limits() {
    let limits = limits(&[
        "http2-control-frames=10",
        "http2-empty-data=5",
        "http2-resets=4",
        "http2-header-frames=3",
        "http2-header-bytes=50",
    ]);
    let (request, data) = ((frame(1, 4, 20), 1), (frame(0, 0, 7), 1));
    for (frames, expected) in [
        (vec![(frame(6, 0, 8), 10)], None),
        (vec![(frame(6, 0, 8), 11)], Some(Limit::Http2ControlFrames)),
        (vec![(frame(4, 0, 6), 11)], Some(Limit::Http2ControlFrames)),
        (vec![(frame(8, 0, 4), 11)], Some(Limit::Http2ControlFrames)),
        (vec![(frame(0, 0, 0), 5)], None),
        (
            vec![(frame(0, 0, 0), 3), request.clone(), data.clone(), (frame(0, 0, 0), 3)],
            Some(Limit::Http2EmptyData),
        ),
        (vec![(frame(0, 1, 0), 100)], None),
        (vec![(frame(0x42, 0, 0), 11)], Some(Limit::Http2ControlFrames)),
        (vec![(frame(6, 0, 8), 10), request.clone(), (frame(6, 0, 8), 2), data, (frame(6, 0, 8), 2)], None),
        (vec![(frame(3, 0, 4), 4)], None),
        (vec![(frame(3, 0, 4), 5)], Some(Limit::Http2Resets)),
        (vec![(frame(1, 0, 10), 1), (frame(9, 0, 10), 2)], None),
        (vec![(frame(1, 0, 10), 1), (frame(9, 0, 10), 3)], Some(Limit::Http2HeaderFrames)),
        (vec![(frame(1, 4, 51), 1)], Some(Limit::Http2HeaderBytes)),
        (vec![request], None),
    ] {
        for piece in [1, 5, 1 << 20] {
            assert_eq!(metered(limits, &frames, piece), expected, "{frames:?} by {piece}");
        }
    }
}

#[test]
fn clients_that_only_receive_and_those_that_cancel_what_they_asked_are_no_flood() {
    let mut meter = Meter::new(limits(&["http2-control-frames=10"]), Instant::now());
    meter.advance(&[0; 24]).expect("the preface");
    for _ in 0..1000 {
        meter.wrote(&frame(0, 0, 1015));
        meter.advance(&frame(8, 0, 4).repeat(2)).expect("what was written explains them");
    }
    // Half of all requests are taken back.
    let pairs = [frame(1, 5, 20), frame(1, 5, 20), frame(3, 0, 4)].concat().repeat(10_000);
    assert_eq!(meter.advance(&pairs), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_pieces_make_no_difference(
        bytes in prop::collection::vec(prop::sample::select(&b"GET / HTTP/1.1\r\n\r\ncontent-length: 05;x"[..]), 0..200),
        piece in 1..50usize,
        noise in any::<Vec<u8>>(),
    ) {
        for bytes in [&bytes, &noise] {
            let whole = scan(Limits::default(), bytes).err().map(|stop| stop.fault);
            prop_assert_eq!(fault_in_pieces(Limits::default(), bytes, piece), whole);
            prop_assert_eq!(metered(Limits::default(), &[(bytes.clone(), 1)], piece),
                metered(Limits::default(), &[(bytes.clone(), 1)], 1));
        }
    }
}
