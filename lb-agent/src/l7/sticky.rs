//! Cookies that lead to an endpoint: a value is a keyed hash of its address, the same on all nodes and workers, so that
//! there is no table of sessions, and nobody learns an address.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::{error::Unspecified, rand};
use http::{HeaderMap, HeaderValue};

use super::policy::{address_bytes, cookie};
use super::upstream::Upstream;
use crate::model::Sticky;

/// Separates this use of the cluster's secret from others.
const LABEL: &[u8] = b"edgelb sticky cookies v1";

/// What values are made with. A clone goes by the same secret.
#[derive(Clone)]
pub(super) struct CookieKeys(Arc<ArcSwap<Keys>>);

struct Keys {
    /// Of the secret in force.
    own: Key,
    /// Of the one before: its cookies still count, and are replaced.
    former: Option<Key>,
    print: Value,
}

/// What a cookie has.
pub(super) type Value = [u8; 8];

impl CookieKeys {
    /// By a secret of its own until it is given one.
    pub(super) fn random() -> Result<Self, Unspecified> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        let (own, print) = key(&bytes);
        Ok(Self(Arc::new(ArcSwap::from_pointee(Keys { own, former: None, print }))))
    }

    /// By this secret from now on.
    pub(super) fn give(&self, secret: &[u8]) {
        let (own, print) = key(secret);
        let before = self.0.load();
        if before.print != print {
            let former = Some(before.own.clone());
            self.0.store(Arc::new(Keys { own, former, print }));
        }
    }
}

/// HKDF (RFC 5869) gives a secret of any length an even key; the second value tells keys apart.
fn key(secret: &[u8]) -> (Key, Value) {
    let prk = Salt::new(HKDF_SHA256, LABEL).extract(secret);
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    // As long as the hash is, which is never too long.
    _ = prk.expand(&[b"key"], HKDF_SHA256).and_then(|okm| okm.fill(&mut *bytes));
    let key = Key::new(HMAC_SHA256, &*bytes);
    let print = first(&key, b"print");
    (key, print)
}

fn first(key: &Key, bytes: &[u8]) -> Value {
    let mut value = Value::default();
    value.copy_from_slice(&sign(key, bytes).as_ref()[..8]);
    value
}

/// The values of a backend's endpoints, in its order.
pub(super) struct Values {
    keys: CookieKeys,
    made: RefCell<Made>,
}

struct Made {
    by: Arc<Keys>,
    own: Box<[Value]>,
    former: Box<[Value]>,
}

impl Values {
    /// Of these endpoints.
    pub(super) fn new(keys: &CookieKeys, upstreams: &[Rc<Upstream>]) -> Self {
        Self { keys: keys.clone(), made: RefCell::new(Made::new(keys.0.load_full(), upstreams)) }
    }

    /// The endpoint that a value names, and whether by a former secret.
    fn find(&self, value: Value, upstreams: &[Rc<Upstream>]) -> Option<(usize, bool)> {
        let made = self.now(upstreams);
        let at = |values: &[Value]| values.iter().position(|known| *known == value);
        at(&made.own).map(|place| (place, false)).or_else(|| Some((at(&made.former)?, true)))
    }

    fn of(&self, place: usize, upstreams: &[Rc<Upstream>]) -> Value {
        self.now(upstreams).own[place]
    }

    fn now(&self, upstreams: &[Rc<Upstream>]) -> std::cell::Ref<'_, Made> {
        let by = self.keys.0.load();
        if !Arc::ptr_eq(&by, &self.made.borrow().by) {
            *self.made.borrow_mut() = Made::new(Arc::clone(&by), upstreams);
        }
        self.made.borrow()
    }
}

impl Made {
    fn new(by: Arc<Keys>, upstreams: &[Rc<Upstream>]) -> Self {
        let values = |key: &Key| upstreams.iter().map(|upstream| value(key, upstream.address)).collect();
        let (own, former) = (values(&by.own), by.former.as_ref().map(values).unwrap_or_default());
        Self { by, own, former }
    }
}

fn value(key: &Key, address: SocketAddr) -> Value {
    first(key, &address_bytes(address))
}

/// A request to a backend whose clients come back to their endpoints.
pub(super) struct Session {
    sticky: Arc<Sticky>,
    /// What its cookie has.
    value: Option<Value>,
    /// The path of its route.
    path: Option<Box<str>>,
    /// Whether it came over TLS.
    is_tls: bool,
}

impl Session {
    /// That of a request with these headers.
    pub(super) fn new(sticky: &Arc<Sticky>, headers: &HeaderMap, path: Option<&str>, is_tls: bool) -> Self {
        let value = cookie(headers, &sticky.cookie).and_then(parse);
        Self { sticky: sticky.clone(), value, path: path.map(Into::into), is_tls }
    }

    /// The endpoint that its cookie names.
    pub(super) fn place(&self, values: &Values, upstreams: &[Rc<Upstream>]) -> Option<usize> {
        Some(values.find(self.value?, upstreams)?.0)
    }

    /// What the client is told after the endpoint at this place has answered; `None` if it is to keep what it has.
    pub(super) fn cookie(
        &self,
        place: usize,
        values: &Values,
        upstreams: &[Rc<Upstream>],
    ) -> Option<HeaderValue> {
        match self.value.and_then(|value| values.find(value, upstreams)) {
            Some((named, false)) if named == place || !self.sticky.changes_on_failure => None,
            Some((named, true)) if named != place && !self.sticky.changes_on_failure => None,
            _ => {
                let value = u64::from_be_bytes(values.of(place, upstreams));
                HeaderValue::try_from(self.written(&format!("{value:016x}"))).ok()
            }
        }
    }

    /// The cookie with this value.
    pub(super) fn written(&self, value: &str) -> String {
        let Sticky { cookie, path, domain, max_age, same_site, is_secure, .. } = &*self.sticky;
        let path = path.as_deref().or(self.path.as_deref()).unwrap_or("/");
        let mut text = format!("{cookie}={value}; Path={path}; HttpOnly");
        // A string takes all that is written.
        _ = domain.iter().try_for_each(|domain| write!(text, "; Domain={domain}"));
        _ = max_age.iter().try_for_each(|age| write!(text, "; Max-Age={}", age.as_secs()));
        _ = same_site.iter().try_for_each(|site| write!(text, "; SameSite={}", site.name()));
        if is_secure.unwrap_or(self.is_tls) {
            text.push_str("; Secure");
        }
        text
    }
}

/// Sixteen digits, as `written` has them.
pub(super) fn parse(text: &[u8]) -> Option<Value> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.len() == 16)?;
    let is_ours = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let value = u64::from_str_radix(digits, 16).ok().filter(|_| is_ours)?;
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::l7::deadline::Deadlines;
    use crate::l7::pool::Keeping;
    use crate::metrics::Metrics;
    use crate::model::SameSite;

    fn upstreams(ports: &[u16]) -> Vec<Rc<Upstream>> {
        let deadlines = Deadlines::new(Duration::from_millis(10));
        let metrics = Metrics::new(&mut Registry::default());
        let keeping = Rc::new(Keeping::new(&deadlines, 1, Duration::from_secs(1), &metrics));
        let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        ports.iter().map(|port| Upstream::new((address(port), Default::default()), false, &keeping)).collect()
    }

    fn keys(secret: &[u8]) -> CookieKeys {
        let keys = CookieKeys::random().expect("random numbers");
        keys.give(secret);
        keys
    }

    fn sticky() -> Sticky {
        Sticky {
            cookie: "shop".to_owned(),
            path: None,
            domain: None,
            max_age: None,
            same_site: None,
            is_secure: None,
            changes_on_failure: false,
        }
    }

    fn session(sticky: Sticky, cookie: &str, is_tls: bool) -> Session {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", format!("a=b; shop={cookie}").parse().expect("a value"));
        Session::new(&Arc::new(sticky), &headers, Some("/cart"), is_tls)
    }

    /// The value that a Set-Cookie header gives.
    fn given(header: Option<HeaderValue>) -> String {
        let text = header.expect("a cookie").to_str().expect("ASCII").to_owned();
        text.strip_prefix("shop=").expect("its name")[..16].to_owned()
    }

    #[test]
    fn a_cookie_leads_to_its_endpoint_on_every_node_as_long_as_that_is_there() {
        let all = upstreams(&[1, 2, 3]);
        let (one, other) = (Values::new(&keys(b"secret"), &all), Values::new(&keys(b"secret"), &all));
        let cookie = given(session(sticky(), "", false).cookie(1, &one, &all));
        let known = session(sticky(), &cookie, false);
        assert_eq!((known.place(&other, &all), known.cookie(1, &other, &all)), (Some(1), None));
        let fewer = upstreams(&[2, 4]);
        let fewer_values = Values::new(&keys(b"secret"), &fewer);
        assert_eq!(known.place(&fewer_values, &fewer), Some(0));
        let gone = upstreams(&[1, 3]);
        let gone_values = Values::new(&keys(b"secret"), &gone);
        assert_eq!(known.place(&gone_values, &gone), None);
        assert_ne!(given(known.cookie(0, &gone_values, &gone)), cookie);
        for forged in ["", "1", "zzzzzzzzzzzzzzzz", "+123456789abcdef", &cookie.to_uppercase()] {
            let is_same = forged == cookie;
            assert!(is_same || session(sticky(), forged, false).place(&one, &all).is_none(), "{forged}");
        }
    }

    #[test]
    fn who_was_helped_out_by_another_endpoint_comes_back_unless_it_is_to_change() {
        let all = upstreams(&[1, 2]);
        let values = Values::new(&keys(b"secret"), &all);
        let cookie = given(session(sticky(), "", false).cookie(0, &values, &all));
        assert_eq!(session(sticky(), &cookie, false).cookie(1, &values, &all), None);
        let changing = Sticky { changes_on_failure: true, ..sticky() };
        assert!(session(changing, &cookie, false).cookie(1, &values, &all).is_some());
    }

    #[test]
    fn a_cookie_of_the_secret_before_counts_and_is_replaced() {
        let (all, keys) = (upstreams(&[1, 2]), keys(b"secret"));
        let values = Values::new(&keys, &all);
        let cookie = given(session(sticky(), "", false).cookie(1, &values, &all));
        keys.give(b"the next one");
        keys.give(b"the next one");
        let known = session(sticky(), &cookie, false);
        assert_eq!(known.place(&values, &all), Some(1));
        assert_ne!(given(known.cookie(1, &values, &all)), cookie);
    }

    #[test]
    fn what_stands_beside_the_value() {
        let (all, keys) = (upstreams(&[1]), keys(b"secret"));
        let values = Values::new(&keys, &all);
        let full = Sticky {
            path: Some("/".to_owned()),
            domain: Some("example.org".to_owned()),
            max_age: Some(Duration::from_secs(3600)),
            same_site: Some(SameSite::Lax),
            is_secure: Some(false),
            ..sticky()
        };
        for (sticky, is_tls, expected) in [
            (sticky(), false, "; Path=/cart; HttpOnly"),
            (sticky(), true, "; Path=/cart; HttpOnly; Secure"),
            (full, true, "; Path=/; HttpOnly; Domain=example.org; Max-Age=3600; SameSite=Lax"),
        ] {
            let header = session(sticky, "", is_tls).cookie(0, &values, &all).expect("a cookie");
            let text = header.to_str().expect("ASCII");
            assert_eq!(&text["shop=0123456789abcdef".len()..], expected);
        }
    }
}
