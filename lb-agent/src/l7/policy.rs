//! What of a request decides, where a Service's annotation says so, to which endpoint it goes.

use std::net::{IpAddr, SocketAddr};

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use twox_hash::XxHash3_64;

use super::route::Route;
use super::sticky::Session;
use crate::model::{HashBy, Policy, Treatment};

/// Where the client's address stands in a request that is ready to be sent.
const CLIENT: HeaderName = HeaderName::from_static("x-real-ip");

/// What of a request says to which endpoint it goes.
#[derive(Default)]
pub(super) struct Hints {
    /// Requests with the same one go to the same endpoint.
    pub(super) key: Option<u64>,
    /// Its client comes back to its endpoint.
    pub(super) session: Option<Box<Session>>,
}

impl Hints {
    /// Those of a request that is ready to be sent, and came over TLS or not.
    pub(super) fn of(route: &Route, parts: &Parts, is_tls: bool) -> Self {
        let Treatment { policy, sticky, .. } = &route.target.treatment;
        let session = sticky.as_ref().map(|sticky| {
            Box::new(Session::new(sticky, &parts.headers, route.cookie_path.as_deref(), is_tls))
        });
        Self { key: key(policy, parts), session }
    }
}

/// The key of a request. None where the policy has no keys, or the request nothing of what the key is made of.
fn key(policy: &Policy, parts: &Parts) -> Option<u64> {
    let Policy::Hash(by) = policy else { return None };
    if let [by] = &**by {
        return part(by, parts).map(XxHash3_64::oneshot);
    }
    let parts: Vec<_> = by.iter().map(|by| part(by, parts)).collect();
    let is_any = parts.iter().any(Option::is_some);
    // None of them has this byte in it.
    let joined = parts.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(&0);
    is_any.then(|| XxHash3_64::oneshot(&joined))
}

fn part<'a>(by: &HashBy, parts: &'a Parts) -> Option<&'a [u8]> {
    match by {
        HashBy::Client => Some(parts.headers.get(CLIENT)?.as_bytes()),
        HashBy::Header(name) => Some(parts.headers.get(name)?.as_bytes()),
        HashBy::Cookie(name) => cookie(&parts.headers, name),
        HashBy::Uri => Some(parts.uri.path_and_query()?.as_str().as_bytes()),
        HashBy::Path => Some(parts.uri.path().as_bytes()),
        HashBy::Parameter(name) => {
            let mut pairs = parts.uri.query()?.split('&');
            let value = pairs.find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='))?;
            Some(value.as_bytes()).filter(|value| !value.is_empty())
        }
    }
}

/// A cookie's value; without a value it is as if it were not there.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    let mut values =
        pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.next().filter(|value| !value.is_empty())
}

/// What an endpoint's weights are made of: the same on all workers and nodes.
pub(super) fn seed(address: SocketAddr) -> u64 {
    XxHash3_64::oneshot(&address_bytes(address))
}

/// An address, so that it is the same for all.
pub(super) fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let mut bytes = [0; 18];
    let (ip, port) = bytes.split_at_mut(16);
    ip.copy_from_slice(&match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    });
    port.copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// The weight of an endpoint for a key: the heaviest one gets the request (rendezvous hashing, Thaler and Ravishankar
/// 1998). So an endpoint that comes takes its share from each of the others, and one that goes gives its keys to all of
/// them; no other key moves. Mixed as SplitMix64 does.
pub(super) fn weight(key: u64, seed: u64) -> u64 {
    let mixed = key ^ seed;
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts() -> Parts {
        let request =
            Request::builder().uri("/a?b=1").header("x-real-ip", "192.0.2.1").header("x-tenant", "red");
        let request = request.header("cookie", "first=1; session=abc").header("cookie", "empty=");
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_key_is_made_of_what_the_policy_names() {
        let by = |by| key(&Policy::Hash([by].into()), &parts());
        let of = |text: &str| Some(XxHash3_64::oneshot(text.as_bytes()));
        assert_eq!(by(HashBy::Client), of("192.0.2.1"));
        assert_eq!(by(HashBy::Uri), of("/a?b=1"));
        assert_eq!(by(HashBy::Path), of("/a"));
        assert_eq!(by(HashBy::Parameter("b".to_owned())), of("1"));
        assert_eq!(by(HashBy::Parameter("c".to_owned())), None);
        let both = |one, other| key(&Policy::Hash([one, other].into()), &parts());
        let nothing = || HashBy::Parameter("c".to_owned());
        assert_eq!(both(HashBy::Path, HashBy::Client), of("/a\u{0}192.0.2.1"));
        assert_eq!((both(nothing(), HashBy::Path), both(nothing(), nothing())), (of("\u{0}/a"), None));
        assert_eq!(by(HashBy::Header(HeaderName::from_static("x-tenant"))), of("red"));
        assert_eq!(by(HashBy::Header(HeaderName::from_static("x-other"))), None);
        for (name, value) in [("first", Some("1")), ("session", Some("abc")), ("sess", None), ("empty", None)]
        {
            assert_eq!(by(HashBy::Cookie(name.to_owned())), value.and_then(of), "{name}");
        }
        for policy in [Policy::PeakEwma, Policy::RoundRobin, Policy::LeastRequest] {
            assert_eq!(key(&policy, &parts()), None);
        }
    }

    /// The endpoint of each of 10,000 keys.
    fn places(ports: &[u16]) -> Vec<u16> {
        let endpoints = ports.iter().map(|&port| (seed(SocketAddr::from(([192, 0, 2, 1], port))), port));
        let endpoints: Vec<_> = endpoints.collect();
        let heaviest =
            |key: u64| endpoints.iter().max_by_key(|(seed, _)| weight(key, *seed)).map(|(_, port)| *port);
        (0_u64..10_000)
            .map(|key| heaviest(XxHash3_64::oneshot(&key.to_be_bytes())).expect("endpoints"))
            .collect()
    }

    #[test]
    fn shares_are_even_and_only_the_keys_of_who_leaves_move() {
        let all = places(&[1, 2, 3, 4, 5]);
        for port in 1..=5 {
            let share = all.iter().filter(|&&place| place == port).count();
            assert!((1800..2200).contains(&share), "{share} of 10,000 at one of five");
        }
        let fewer = places(&[1, 2, 4, 5]);
        assert!(all.iter().zip(&fewer).all(|(before, now)| *before == 3 || before == now));
        assert!(!fewer.contains(&3));
    }
}
