//! Host names: of a request, and as a rule names them. Lower case, without port and trailing dot.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// A host name that no rule and no request can have.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is not a DNS name, nor a wildcard `*.` before one")]
pub struct InvalidHost(pub String);

/// The host of a request, normalised: what patterns are compared with.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Host(String);

impl Host {
    /// From a Host header or an authority: without the port and one trailing dot, in lower case.
    /// Any name that can be looked up is taken; what it matches is the router's question.
    #[must_use]
    pub fn from_authority(authority: &str) -> Self {
        Self(Self::normalise(authority).into_owned())
    }

    /// The name that `from_authority` keeps, borrowed where the authority already spells it so.
    #[must_use]
    pub fn normalise(authority: &str) -> Cow<'_, str> {
        let name = match authority.rfind(':') {
            // The colons of an IPv6 literal stand inside of brackets.
            Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
            _ => authority,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        }
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a wildcard has to stand before to match: all after the first label, which must not be empty.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        Self::parent_of(&self.0)
    }

    /// As `parent`, of a name that is normalised already.
    #[must_use]
    pub fn parent_of(name: &str) -> Option<&str> {
        let (first, rest) = name.split_once('.')?;
        (!first.is_empty()).then_some(rest)
    }
}

/// The host of an Ingress rule or of its TLS section. Precise ones sort before wildcards, `Any` is last.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum HostPattern {
    /// `shop.example.org`
    Precise(String),
    /// `*.example.org`, kept as `example.org`: stands for exactly one non-empty label.
    Wildcard(String),
    /// No host: all of them, at the lowest priority.
    Any,
}

impl HostPattern {
    /// From `spec.rules[].host` or `spec.tls[].hosts[]`; an empty one is `Any`.
    ///
    /// # Errors
    /// `InvalidHost` for what Kubernetes' own validation would refuse: not a DNS-1123 name, a wildcard
    /// elsewhere than as the whole first label, an IP address.
    pub fn parse(host: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost(host.to_owned());
        if host.is_empty() {
            return Ok(Self::Any);
        }
        let lower = host.to_ascii_lowercase();
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        if name.len() > 253 || !name.split('.').all(is_label) || name.parse::<std::net::IpAddr>().is_ok() {
            return Err(invalid());
        }
        let name = name.to_owned();
        Ok(if wildcard { Self::Wildcard(name) } else { Self::Precise(name) })
    }

    /// Whether a request's host falls under it.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Precise(name) => name == host.as_str(),
            Self::Wildcard(parent) => host.parent() == Some(parent),
            Self::Any => true,
        }
    }
}

/// DNS-1123: letters, digits and inner hyphens, 1 to 63 bytes.
fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precise(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, authority: &str, expected: bool) {
        let parsed = HostPattern::parse(pattern).expect(pattern);
        assert_eq!(parsed.matches(&Host::from_authority(authority)), expected, "{pattern} {authority}");
    }

    #[test]
    fn hosts_match_as_the_specification_says() {
        for (pattern, authority, expected) in [
            ("foo.com", "foo.com", true),
            ("foo.com", "FOO.com", true),
            ("Foo.com", "foo.com", true),
            ("foo.com", "foo.com:8443", true),
            ("foo.com", "foo.com.", true),
            ("foo.com", "foo.com.:80", true),
            ("foo.com", "foo.com..", false),
            ("foo.com", "a.foo.com", false),
            ("foo.com", "", false),
            ("*.foo.com", "a.foo.com", true),
            ("*.foo.com", "A.Foo.Com:80", true),
            ("*.foo.com", "foo.com", false),
            ("*.foo.com", ".foo.com", false),
            ("*.foo.com", "a.b.foo.com", false),
            ("", "[2001:db8::1]:80", true),
            ("", "", true),
        ] {
            check(pattern, authority, expected);
        }
    }

    #[test]
    fn ipv6_authorities_lose_only_their_port() {
        assert_eq!(Host::from_authority("[2001:DB8::1]:80").as_str(), "[2001:db8::1]");
        assert_eq!(Host::from_authority("[2001:db8::1]").as_str(), "[2001:db8::1]");
    }

    #[test]
    fn bad_hosts_are_refused() {
        for host in [
            "*",
            "*foo.com",
            "a.*.com",
            "foo..com",
            "-a.com",
            "a-.com",
            "foo.com:80",
            "a_b.com",
            "192.0.2.1",
            "foo.com/",
            "*.*.com",
        ] {
            assert_eq!(HostPattern::parse(host), Err(InvalidHost(host.to_owned())));
        }
    }
}
