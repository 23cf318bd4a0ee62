//! The parsers that see bytes from outside, each with what has to hold whatever the bytes are. Fuzz targets call them
//! (`tests/fuzz`), and a test of the crate with every file of the corpora.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use http::header::{COOKIE, FORWARDED, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

pub use super::endpoint::fuzzed::endpoint;
pub use super::guard::fuzzed::{http1, http2};
pub use super::trace::fuzzed::traceparent;

use super::forwarded::{self, Origin};
use super::frames::Frames;
use super::trust::Trust;
use super::{authority, grpc, path_policy, path_readings, policy, proxy_header, sniff, sticky};
use crate::model::{ListenerProtocol, plain_path};

/// The name of a corpus, and what is called with its bytes.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: [Parser; 12] = [
    ("http1", http1),
    ("http2", http2),
    ("endpoint", endpoint),
    ("proxy_header", proxy_header),
    ("sniff", sniff),
    ("path", path),
    ("authority", authority),
    ("forwarded", forwarded),
    ("cookie", cookie),
    ("traceparent", traceparent),
    ("grpc_timeout", grpc_timeout),
    ("websocket", websocket),
];

/// A PROXY header: what follows it does not change what it says, and not a byte of that is taken.
pub fn proxy_header(bytes: &[u8]) {
    let read = |mut rest: &[u8]| {
        let client = proxy_header::read(&mut rest).now_or_never().and_then(Result::ok);
        client.map(|client| (client, rest.len()))
    };
    let Some((client, rest)) = read(bytes) else { return };
    assert_eq!(read(&bytes[..bytes.len() - rest]), Some((client, 0)));
    assert_eq!(read(&[bytes, b"GET"].concat()), Some((client, rest + 3)));
}

/// The first bytes of a connection: all that is read of them is given back.
pub fn sniff(bytes: &[u8]) {
    let (mut rest, mut read) = (bytes, BytesMut::new());
    if let Some(Ok(is_http2)) = sniff::sniff(&mut rest, &mut read).now_or_never() {
        assert_eq!([&read[..], rest].concat(), bytes);
        assert_eq!(is_http2, bytes.starts_with(b"PRI * HTTP/2.0\r\n"));
    }
}

/// A path: made plain once it stays so, and is as safe as before; its other readings have no empty element.
pub fn path(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    let path = uri.path();
    let plain = plain_path(path);
    assert_eq!(plain.as_deref().and_then(plain_path), None, "{path}");
    if let Some(plain) = &plain {
        assert_eq!(path_policy::is_safe(plain), path_policy::is_safe(path), "{path}");
        assert!(Uri::try_from(plain.as_str()).is_ok(), "{path}");
    }
    for reading in path_readings::others(plain.as_deref().unwrap_or(path)) {
        assert!(!reading.contains("//"), "{path}: {reading}");
    }
}

/// A target and the values of Host headers, one a line: what is settled is one host, and nothing else.
pub fn authority(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(Ok(target)) = lines.next().map(Uri::try_from) else { return };
    let mut parts = request(&HOST, lines);
    parts.uri = target;
    if authority::settle(&mut parts).is_ok() {
        assert_eq!(parts.headers.get_all(HOST).iter().count(), 1);
        let host = authority::of(&parts.headers);
        assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)), "{host}");
    }
}

/// The values of headers with claims, one a line: of a client nothing is believed, of a proxy in front of us one client.
pub fn forwarded(bytes: &[u8]) {
    let trust = Trust { headers: vec!["192.0.2.0/24".parse().expect("a network")], ..Trust::default() };
    for peer in [[192_u8, 0, 2, 1], [198, 51, 100, 1]] {
        let mut headers = claims(bytes);
        let listener = ([203, 0, 113, 10], 443).into();
        let origin = Origin::new(peer.into(), listener, ListenerProtocol::Https, &trust);
        origin.settle(&mut headers, &trust);
        origin.tell(&mut headers);
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok()).expect("a value").to_owned();
            assert!(values.next().is_none(), "{name}");
            value
        };
        let client: IpAddr = one("x-real-ip").parse().expect("an address");
        if !trust.believes(peer.into()) {
            assert_eq!((one("x-forwarded-for"), client), (client.to_string(), peer.into()));
            assert!(!headers.contains_key(FORWARDED));
            let claims = headers.keys().filter(|name| forwarded::is_claim(name.as_str()));
            assert_eq!(claims.count(), 5);
        }
    }
}

fn claims(bytes: &[u8]) -> HeaderMap {
    let names = ["x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
    let lines = bytes.split(|byte| *byte == b'\n').zip(names.iter().cycle());
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("a.example"));
    for (line, name) in lines.take(1000) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(*name, value);
        }
    }
    headers
}

/// Cookie headers, one a line: whatever a client makes up names no endpoint that was not written so.
pub fn cookie(bytes: &[u8]) {
    let parts = request(&COOKIE, bytes.split(|byte| *byte == b'\n'));
    let Some(value) = policy::cookie(&parts.headers, "shop") else { return };
    assert!(!value.is_empty() && !value.contains(&b';'));
    if let Some(place) = sticky::parse(value) {
        assert_eq!(format!("{:016x}", u64::from_be_bytes(place)).as_bytes(), value);
    }
}

/// How long a call may take, by its header.
pub fn grpc_timeout(bytes: &[u8]) {
    let parts = request(&HeaderName::from_static("grpc-timeout"), std::iter::once(bytes));
    if let Some(time) = grpc::timeout(&parts.headers) {
        assert!((2..=9).contains(&bytes.len()), "{bytes:?}");
        assert!(time <= Duration::from_secs(99_999_999 * 60 * 60), "{bytes:?}");
    }
}

/// Frames of a WebSocket: where they end does not depend on how their bytes are cut.
pub fn websocket(bytes: &[u8]) {
    let mut ends = BTreeSet::from([0]);
    let mut one_by_one = Frames::default();
    for (index, byte) in bytes.iter().enumerate() {
        one_by_one.advance(&[*byte]);
        if one_by_one.is_between() {
            ends.insert(index + 1);
        }
    }
    let mut whole = Frames::default();
    whole.advance(bytes);
    assert_eq!((whole.is_between(), whole.is_closed()), (one_by_one.is_between(), one_by_one.is_closed()));
    for cut in [1, 2, 3, 5, 9, 11, bytes.len() / 2].into_iter().filter(|cut| *cut < bytes.len()) {
        let mut frames = Frames::default();
        frames.advance(&bytes[..cut]);
        let next = ends.range(cut..).next().map_or(bytes.len(), |end| *end);
        assert_eq!(frames.rest_of_frame(&bytes[cut..]), next - cut, "after {cut}");
    }
}

fn request<'v>(name: &HeaderName, values: impl Iterator<Item = &'v [u8]>) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    // More than these, no request may have.
    for value in values.take(1000).filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        parts.headers.append(name, value);
    }
    parts
}
