//! What backends are told of a request's way: `X-Forwarded-*`, `X-Real-IP` and `Forwarded`. A client's own claims are
//! replaced; those of a proxy in front of us, which is trusted, are gone on with.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::trust::Trust;
use crate::model::ListenerProtocol;

/// What all of them begin with.
const X_FORWARDED: &str = "x-forwarded-";
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// What every request of one client connection is told to come from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The other end's address: a client, or a proxy in front of us.
    pub(super) address: HeaderValue,
    peer: IpAddr,
    /// `http` or `https`.
    scheme: HeaderValue,
    /// The port that it connected to.
    port: HeaderValue,
    /// Whether its headers are believed.
    is_trusted: bool,
    /// What it makes of each request's head, but for the host.
    lines: Box<[u8]>,
}

impl Origin {
    /// Of a connection from this peer to this port.
    pub(super) fn new(peer: IpAddr, listener: SocketAddr, protocol: ListenerProtocol, trust: &Trust) -> Self {
        let peer = peer.to_canonical();
        let (address, scheme, port) = (peer.to_string(), protocol.scheme(), listener.port());
        let lines = format!(
            "{X_FORWARDED_FOR}: {address}\r\n{X_REAL_IP}: {address}\r\n\
             {X_FORWARDED_PROTO}: {scheme}\r\n{X_FORWARDED_PORT}: {port}\r\n{X_FORWARDED_HOST}: "
        );
        Self {
            address: value(address),
            peer,
            scheme: HeaderValue::from_static(scheme),
            port: port.into(),
            is_trusted: trust.believes(peer),
            lines: lines.into_bytes().into(),
        }
    }

    /// The other end.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether its headers are believed: it is a proxy in front of us.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Settles what a request says of the kind. Its Host must be settled.
    pub(super) fn settle(&self, headers: &mut HeaderMap, trust: &Trust) {
        match self.is_trusted {
            true => self.go_on(headers, trust),
            false => remove_claims(headers),
        }
    }

    /// Adds what is ours to say to a request that is settled, unless it is there already.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if is_told(headers) {
            return;
        }
        if let Some(host) = headers.get(HOST).cloned() {
            headers.insert(X_FORWARDED_HOST, host);
        }
        headers.insert(X_FORWARDED_FOR, self.address.clone());
        headers.insert(X_REAL_IP, self.address.clone());
        headers.insert(X_FORWARDED_PROTO, self.scheme.clone());
        headers.insert(X_FORWARDED_PORT, self.port.clone());
    }

    /// The same, to the head of a request with these headers that is on its way: it is the same for all of a connection.
    pub(super) fn write(&self, headers: &HeaderMap, head: &mut Vec<u8>) {
        if is_told(headers) {
            return;
        }
        let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        for part in [&self.lines, host, b"\r\n"] {
            head.extend_from_slice(part);
        }
    }

    /// What the proxy in front of us says stays, where it is of the right form; where it says nothing, we do.
    fn go_on(&self, headers: &mut HeaderMap, trust: &Trust) {
        let (chain, client) = self.chain(headers, trust);
        self.settle_forwarded(headers);
        let (said_scheme, said_host) = said_of_client(headers, trust);
        headers.insert(X_FORWARDED_FOR, value(chain));
        headers.insert(X_REAL_IP, value(client.to_string()));
        let scheme = |said: &[u8]| said == b"http" || said == b"https";
        let said_scheme = said_scheme.filter(|said| scheme(said.as_bytes()));
        keep(headers, &X_FORWARDED_PROTO, scheme, Some(said_scheme.unwrap_or_else(|| self.scheme.clone())));
        let port = |said: &[u8]| (1..=5).contains(&said.len()) && said.iter().all(u8::is_ascii_digit);
        keep(headers, &X_FORWARDED_PORT, port, Some(self.port.clone()));
        let host = said_host.or_else(|| headers.get(HOST).cloned());
        keep(headers, &X_FORWARDED_HOST, |said| !said.is_empty() && !said.contains(&b','), host);
    }

    /// Whose request it is, by headers that are not settled yet.
    pub(super) fn client(&self, headers: &HeaderMap, trust: &Trust) -> IpAddr {
        if self.is_trusted { self.last_client(&addresses(headers), trust) } else { self.peer }
    }

    /// The addresses that the request came over, ours the last, and the client's.
    fn chain(&self, headers: &HeaderMap, trust: &Trust) -> (String, IpAddr) {
        let said = addresses(headers);
        let mut chain = said.join(", ");
        let separator = if chain.is_empty() { "" } else { ", " };
        _ = write!(chain, "{separator}{}", self.peer);
        (chain, self.last_client(&said, trust))
    }

    /// The last that is no trusted proxy.
    fn last_client(&self, said: &[&str], trust: &Trust) -> IpAddr {
        let mut client = self.peer;
        for address in said.iter().rev().map_while(|text| address(text)) {
            client = address;
            if !trust.believes(address) {
                break;
            }
        }
        client
    }

    /// Goes on only where the proxy in front of us writes it (RFC 7239): two headers with one meaning are one too many. One
    /// that knows `X-Forwarded-For` alone passes on what its client says here, which then tells of another way.
    fn settle_forwarded(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(FORWARDED) {
            return;
        }
        let same = |(one, other): (&str, &str)| address(one) == address(other);
        let (listed, told) = (listed(headers), told(headers));
        if !listed.is_empty() && (listed.len() != told.len() || !listed.into_iter().zip(told).all(same)) {
            headers.remove(FORWARDED);
            return;
        }
        let node = match self.peer {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let scheme = self.scheme.to_str().unwrap_or_default();
        headers.append(FORWARDED, value(format!("for={node};proto={scheme}")));
    }
}

/// Whether a settled request says already where it comes from: a trusted proxy's does.
fn is_told(headers: &HeaderMap) -> bool {
    headers.contains_key(X_REAL_IP)
}

/// Whether a header says what only a proxy can know.
pub(super) fn is_claim(name: &str) -> bool {
    name.starts_with(X_FORWARDED) || name == X_REAL_IP.as_str() || name == FORWARDED.as_str()
}

/// What a client says as only a proxy in front of us could, also under names that we write nothing to.
fn remove_claims(headers: &mut HeaderMap) {
    super::headers::remove_where(headers, |name| is_claim(name.as_str()));
}

/// One value of the right form stays; else it is ours.
fn keep(headers: &mut HeaderMap, name: &HeaderName, form: impl Fn(&[u8]) -> bool, own: Option<HeaderValue>) {
    let mut said = headers.get_all(name).iter();
    let is_good = said.next().is_some_and(|value| form(value.as_bytes())) && said.next().is_none();
    match own {
        _ if is_good => {}
        Some(own) => drop(headers.insert(name, own)),
        None => drop(headers.remove(name)),
    }
}

/// The addresses that a request came over, by those before us.
fn addresses(headers: &HeaderMap) -> Vec<&str> {
    let listed = listed(headers);
    if listed.is_empty() { told(headers) } else { listed }
}

/// What is said in all of `X-Forwarded-For`.
fn listed(headers: &HeaderMap) -> Vec<&str> {
    elements(headers, &X_FORWARDED_FOR).collect()
}

/// The same in all of `Forwarded`.
fn told(headers: &HeaderMap) -> Vec<&str> {
    elements(headers, &FORWARDED).filter_map(|element| element.split(';').find_map(node)).collect()
}

fn node(pair: &str) -> Option<&str> {
    value_of(pair, "for")
}

/// What a pair of `Forwarded` says, if that is its name.
fn value_of<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = pair.split_once('=')?;
    found.trim().eq_ignore_ascii_case(name).then_some(value.trim().trim_matches('"'))
}

/// What `Forwarded` says of the scheme and the host that the client asked for: in the element of the proxy that it asked.
fn said_of_client(headers: &HeaderMap, trust: &Trust) -> (Option<HeaderValue>, Option<HeaderValue>) {
    let all: Vec<_> = elements(headers, &FORWARDED).collect();
    let is_of_proxy = |element: &&&str| {
        let node = element.split(';').find_map(node).and_then(address);
        node.is_some_and(|node| trust.believes(node))
    };
    let of_client = all.iter().rev().find(|element| !is_of_proxy(element)).or(all.first());
    let said = |name| {
        let said = of_client?.split(';').find_map(|pair| value_of(pair, name))?;
        HeaderValue::from_str(said).ok().filter(|said| !said.is_empty())
    };
    (said("proto"), said("host"))
}

/// Those of all lists under a name.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let said = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    // Empty ones say nothing (RFC 9110 section 5.6.1).
    said.flat_map(|list| list.split(',').map(str::trim)).filter(|element| !element.is_empty())
}

/// An address as lists have it, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

fn value(text: String) -> HeaderValue {
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(text));
    value.unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust() -> Trust {
        let networks = ["192.0.2.0/24", "2001:db8::/32"];
        Trust { headers: networks.map(|text| text.parse().expect("a network")).into(), ..Trust::default() }
    }

    fn told(peer: &str, sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("a.example"));
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let listener = "203.0.113.10:8443".parse().expect("an address");
        let peer = peer.parse().expect("an address");
        let origin = Origin::new(peer, listener, ListenerProtocol::Https, &trust());
        origin.settle(&mut headers, &trust());
        let mut head = Vec::new();
        origin.write(&headers, &mut head);
        origin.tell(&mut headers);
        check_written(&String::from_utf8(head).expect("text"), &headers);
        headers
    }

    /// What is written says the same as what is added, if anything is.
    fn check_written(head: &str, headers: &HeaderMap) {
        for line in head.lines() {
            let (name, value) = line.split_once(": ").expect("a header");
            let all: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(all, [value], "{name}");
        }
        assert!(head.is_empty() || head.ends_with("\r\n") && head.lines().count() == 5, "{head}");
    }

    fn check(peer: &str, sent: &[(&'static str, &'static str)], expected: &[(&str, &[&str])]) {
        let headers = told(peer, sent);
        for (name, values) in expected {
            let found: Vec<_> =
                headers.get_all(*name).iter().map(|value| value.to_str().expect("text")).collect();
            assert_eq!(found, *values, "{name} from {peer} with {sent:?}");
        }
    }

    const CLAIMS: [(&str, &str); 7] = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "b.example"),
        ("x-forwarded-port", "80"),
        ("x-forwarded-prefix", "/x"),
        ("x-real-ip", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
    ];

    #[test]
    fn a_clients_claims_are_replaced() {
        check(
            "198.51.100.7",
            &CLAIMS,
            &[
                ("x-forwarded-for", &["198.51.100.7"]),
                ("x-real-ip", &["198.51.100.7"]),
                ("x-forwarded-proto", &["https"]),
                ("x-forwarded-host", &["a.example"]),
                ("x-forwarded-port", &["8443"]),
                ("x-forwarded-prefix", &[]),
                ("forwarded", &[]),
            ],
        );
    }

    #[test]
    fn a_trusted_proxys_claims_are_gone_on_with() {
        check(
            "::ffff:192.0.2.1",
            &CLAIMS,
            &[
                ("x-forwarded-for", &["203.0.113.9, 192.0.2.1"]),
                ("x-real-ip", &["203.0.113.9"]),
                ("x-forwarded-proto", &["http"]),
                ("x-forwarded-host", &["b.example"]),
                ("x-forwarded-port", &["80"]),
                ("x-forwarded-prefix", &["/x"]),
                ("forwarded", &["for=203.0.113.9", "for=192.0.2.1;proto=https"]),
            ],
        );
        check(
            "2001:db8::1",
            &[
                ("x-forwarded-proto", "gopher"),
                ("x-forwarded-port", "http"),
                ("x-forwarded-host", "a, b"),
                ("forwarded", "for=x"),
            ],
            &[
                ("x-forwarded-for", &["x, 2001:db8::1"]),
                ("x-real-ip", &["2001:db8::1"]),
                ("x-forwarded-proto", &["https"]),
                ("x-forwarded-port", &["8443"]),
                ("x-forwarded-host", &["a.example"]),
                ("forwarded", &["for=x", "for=\"[2001:db8::1]\";proto=https"]),
            ],
        );
    }

    #[test]
    fn what_forwarded_alone_says_stands_in_the_other_headers_too() {
        let said = "for=198.51.100.9;proto=https, for=203.0.113.9;Proto=http;host=\"b.example:81\", for=192.0.2.7;proto=https";
        check(
            "192.0.2.1",
            &[("forwarded", said)],
            &[
                ("x-real-ip", &["203.0.113.9"]),
                ("x-forwarded-proto", &["http"]),
                ("x-forwarded-host", &["b.example:81"]),
                ("x-forwarded-port", &["8443"]),
            ],
        );
        // Of what is no scheme, and says nothing.
        check(
            "192.0.2.1",
            &[("forwarded", "for=203.0.113.9;proto=gopher;host=")],
            &[("x-forwarded-proto", &["https"]), ("x-forwarded-host", &["a.example"])],
        );
    }

    #[test]
    fn empty_elements_hide_nobody() {
        for said in ["203.0.113.9,", "203.0.113.9, ,", ",,203.0.113.9"] {
            check("192.0.2.1", &[("x-forwarded-for", said)], &[("x-real-ip", &["203.0.113.9"])]);
        }
    }

    #[test]
    fn two_headers_with_one_meaning_agree_or_one_of_them_goes() {
        let list = ("x-forwarded-for", "203.0.113.9, 2001:db8::5");
        let same = "for=203.0.113.9;proto=http, For=\"[2001:db8::5]:80\"";
        check(
            "192.0.2.1",
            &[list, ("forwarded", same)],
            &[("forwarded", &[same, "for=192.0.2.1;proto=https"])],
        );
        for other in ["for=127.0.0.1", "for=203.0.113.9", "for=203.0.113.9, for=127.0.0.1", "proto=http", ""]
        {
            check(
                "192.0.2.1",
                &[list, ("forwarded", other)],
                &[("forwarded", &[]), ("x-real-ip", &["203.0.113.9"])],
            );
        }
        check(
            "192.0.2.1",
            &[("forwarded", "for=127.0.0.1, for=203.0.113.9;by=x")],
            &[("x-real-ip", &["203.0.113.9"]), ("x-forwarded-for", &["127.0.0.1, 203.0.113.9, 192.0.2.1"])],
        );
    }

    #[test]
    fn the_client_is_the_last_address_that_nobody_vouches_for() {
        for (list, client) in [
            ("203.0.113.9", "203.0.113.9"),
            // What stands before is the client's own claim.
            ("1.1.1.1, 203.0.113.9, 192.0.2.8", "203.0.113.9"),
            ("203.0.113.9:4711, [2001:db8::5]:80", "203.0.113.9"),
            ("2001:db8::5", "2001:db8::5"),
            ("203.0.113.9, unknown", "192.0.2.1"),
            ("", "192.0.2.1"),
        ] {
            check("192.0.2.1", &[("x-forwarded-for", list)], &[("x-real-ip", &[client])]);
        }
    }
}
