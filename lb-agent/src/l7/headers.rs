//! Headers on their way through: what belongs to one connection is taken out, what backends want to know is added
//! (`forwarded`).

use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, response};

use super::forwarded::{Origin, is_claim};
use super::line;
use super::reply::X_REQUEST_ID;
use super::trust::Trust;

/// What an endpoint says of its connection's life.
pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Says which node a response came over, in the place of whatever a backend says there.
pub(super) fn name_server(headers: &mut HeaderMap, node: &HeaderValue) {
    headers.insert(X_SERVED_BY, node.clone());
}

/// Says that the connection ends after this response; HTTP/1 alone.
pub(super) fn close_after(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Whether a request of HTTP/1 is the last one of its connection.
pub(super) fn asks_to_close(parts: &Parts) -> bool {
    let says = |token| has_token(&parts.headers, &CONNECTION, token);
    // Of one that says both, the HTTP library believes the header that comes last.
    (parts.version == Version::HTTP_10 || says("close")) && !says("keep-alive")
}

/// Those that RFC 9110 section 7.6.1 and older practice bind to one connection.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS];

/// Makes a client's request one of ours to a backend. Its Host must be settled. What `Origin::tell` adds is yet to be told.
pub(super) fn prepare_request(parts: &mut Parts, origin: &Origin, trust: &Trust) {
    let trailers = accepts_trailers(&parts.headers);
    strip_hop_by_hop(&mut parts.headers);
    let headers = &mut parts.headers;
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    origin.settle(headers, trust);
    remove_shadows(headers);
}

/// Makes a backend's response one of ours to a client.
pub(super) fn prepare_response(parts: &mut response::Parts) {
    strip_hop_by_hop(&mut parts.headers);
    if parts.status == StatusCode::NO_CONTENT {
        // It must not say one (RFC 9110 section 8.6).
        parts.headers.remove(CONTENT_LENGTH);
    }
}

/// Whether a request of HTTP/2 asks for a WebSocket on its stream (RFC 8441): the only CONNECT that is passed on.
pub(super) fn asks_for_websocket(parts: &Parts) -> bool {
    parts.method == Method::CONNECT
        && parts.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Makes it one of HTTP/1.1, whose handshake has a key that HTTP/2 has no use for.
pub(super) fn into_handshake(parts: &mut Parts) {
    parts.method = Method::GET;
    // What a CONNECT carries is the tunnel's.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(SEC_WEBSOCKET_KEY, websocket_key());
    parts.headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
}

/// Sixteen random bytes in base64, the last of whose digits stands for two bits.
fn websocket_key() -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = *b"0123456789012345678901==";
    key[..21].fill_with(|| DIGITS[fastrand::usize(..64)]);
    key[21] = DIGITS[16 * fastrand::usize(..4)];
    HeaderValue::from_bytes(&key).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// Whether a request asks to switch to the WebSocket protocol: the only upgrade that is passed on.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade")
}

/// Puts back what `strip_hop_by_hop` took from a WebSocket handshake.
pub(super) fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Mostly there are none: a look at each is less than seven searches.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        strip_named(headers);
    }
    // With both, the chunks frame the message; a length that stayed could frame it otherwise for the next one.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    // Most others have other lengths.
    matches!(name.as_str().len(), 2 | 7 | 10 | 14 | 16 | 17) && HOP_BY_HOP.contains(name)
}

/// To CGI and its heirs `X_Forwarded_Proto` and `X-Forwarded-Proto` are one variable: a name with `_` does not pass
/// where the one with `-` has a meaning.
fn remove_shadows(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name.as_str().contains('_')) {
        return;
    }
    let dashed: HeaderMap = headers.clone();
    let is_shadow = |name: &HeaderName| {
        let Some(name) = name.as_str().contains('_').then(|| name.as_str().replace('_', "-")) else {
            return false;
        };
        let name = name.as_str();
        is_claim(name) || name == CONTENT_LENGTH || name == TRANSFER_ENCODING || dashed.contains_key(name)
    };
    remove_where(headers, is_shadow);
}

/// Takes out of a request's trailers what would change how it is framed or whom it is for, and what is ours to say: some
/// endpoints take trailers for headers.
pub(super) fn settle_trailers(trailers: &mut HeaderMap) {
    let is_ours = |name: &str| is_claim(name) || name == X_REQUEST_ID;
    remove_where(trailers, |name| {
        line::ends_here(name.as_str().as_bytes()) || is_ours(&name.as_str().replace('_', "-"))
    });
}

/// Takes headers out by their names.
pub(super) fn remove_where(headers: &mut HeaderMap, condition: impl Fn(&HeaderName) -> bool) {
    // Allocates nothing where there is nothing to remove.
    let names: Vec<HeaderName> = headers.keys().filter(|name| condition(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the Connection header names belongs to it; but for what frames the message, says whom it is for, or is ours.
fn strip_named(headers: &mut HeaderMap) {
    let values: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    for token in values.iter().filter_map(|value| value.to_str().ok()).flat_map(tokens) {
        if let Ok(name) = HeaderName::from_bytes(token.as_bytes())
            && name != HOST
            && name != CONTENT_LENGTH
            && name != X_REQUEST_ID
        {
            headers.remove(name);
        }
    }
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE) && has_token(headers, &TE, "trailers")
}

/// Whether a list of tokens has this one.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(tokens)
        .any(|own| own.eq_ignore_ascii_case(token))
}

fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// HTTP/2 may send a cookie per field, HTTP/1.1 has one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::model::ListenerProtocol;

    fn forwarded(version: Version, sent: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut request = Request::builder().version(version).uri("/").header("host", "a.com");
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("request").into_parts();
        let (listener, trust) = (([203, 0, 113, 10], 443).into(), Trust::default());
        let origin = Origin::new([192, 0, 2, 1].into(), listener, ListenerProtocol::Https, &trust);
        prepare_request(&mut parts, &origin, &trust);
        origin.tell(&mut parts.headers);
        let headers = parts.headers.iter();
        let mut lines: Vec<_> =
            headers.map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect();
        lines.sort();
        lines
    }

    fn check(version: Version, sent: &[(&'static str, &'static str)], kept: &[&str]) {
        let added = [
            "host: a.com",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: a.com",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-real-ip: 192.0.2.1",
        ];
        let mut expected: Vec<_> = added.iter().chain(kept).map(|line| (*line).to_owned()).collect();
        expected.sort();
        assert_eq!(forwarded(version, sent), expected, "{sent:?}");
    }

    #[test]
    fn who_says_close_and_who_does_not_say_otherwise_with_http_1_0_ends_a_connection() {
        let asks = |version, said: &[&'static str]| {
            let mut request = Request::builder().version(version);
            for value in said {
                request = request.header(CONNECTION, *value);
            }
            asks_to_close(&request.body(()).expect("a request").into_parts().0)
        };
        for (said, by_1_1, by_1_0) in [
            (&[][..], false, true),
            (&["close"], true, true),
            (&["x, Close"], true, true),
            (&["keep-alive"], false, false),
            (&["close", "keep-alive"], false, false),
        ] {
            assert_eq!(
                (asks(Version::HTTP_11, said), asks(Version::HTTP_10, said)),
                (by_1_1, by_1_0),
                "{said:?}"
            );
        }
    }

    #[test]
    fn trailers_say_nothing_that_is_ours_to_say() {
        let names = [
            "x-sum",
            "grpc-status",
            "content-length",
            "x-forwarded-for",
            "x_real_ip",
            "forwarded",
            "x-request-id",
        ];
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let mut trailers: HeaderMap =
            names.iter().map(|text| (name(text), HeaderValue::from_static("1"))).collect();
        settle_trailers(&mut trailers);
        let left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-sum", "grpc-status"]);
    }

    #[test]
    fn what_belongs_to_the_connection_stays_there() {
        let v = Version::HTTP_11;
        check(v, &[("accept", "*/*")], &["accept: */*"]);
        check(v, &[("connection", "close"), ("keep-alive", "timeout=5"), ("proxy-connection", "x")], &[]);
        check(v, &[("connection", "x-hop, Y-Hop"), ("x-hop", "1"), ("y-hop", "2"), ("z", "3")], &["z: 3"]);
        check(v, &[("connection", "host, content-length"), ("content-length", "3")], &["content-length: 3"]);
        check(v, &[("transfer-encoding", "chunked"), ("content-length", "3")], &[]);
        check(
            v,
            &[("upgrade", "h2c"), ("http2-settings", "x"), ("connection", "upgrade, http2-settings")],
            &[],
        );
        check(v, &[("te", "gzip")], &[]);
        check(v, &[("te", "gzip, trailers")], &["te: trailers", "connection: te"]);
    }

    #[test]
    fn each_of_them_is_known_by_its_length() {
        assert!(HOP_BY_HOP.iter().all(is_hop_by_hop));
    }

    #[test]
    fn names_with_underscores_do_not_shadow_others() {
        let shadows =
            ["x_forwarded_proto", "x-forwarded_for", "x_real_ip", "content_length", "transfer_encoding"];
        check(Version::HTTP_11, &shadows.map(|name| (name, "forged")), &[]);
        check(
            Version::HTTP_11,
            &[("x-user", "1"), ("x_user", "2"), ("x_own", "3")],
            &["x-user: 1", "x_own: 3"],
        );
    }

    #[test]
    fn a_client_cannot_take_our_headers_out() {
        let sent = [("connection", "x-request-id"), ("x-request-id", "7")];
        check(Version::HTTP_11, &sent, &["x-request-id: 7"]);
    }

    #[test]
    fn cookies_of_http2_are_joined() {
        check(Version::HTTP_2, &[("cookie", "a=1"), ("cookie", "b=2")], &["cookie: a=1; b=2"]);
        check(Version::HTTP_2, &[("cookie", "a=1")], &["cookie: a=1"]);
    }

    #[test]
    fn only_websocket_is_an_upgrade() {
        for (upgrade, connection, expected) in [
            ("websocket", "Upgrade", true),
            ("WebSocket", "keep-alive, upgrade", true),
            ("websocket", "keep-alive", false),
            ("h2c", "upgrade", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            headers.insert(CONNECTION, HeaderValue::from_static(connection));
            assert_eq!(wants_websocket(&headers), expected, "{upgrade} {connection}");
        }
    }
}
