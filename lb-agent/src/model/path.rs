//! Paths of rules, and the order in which they are asked: precedence is an `Ord`, not a chain of ifs.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// A rule's path that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum InvalidPath {
    /// It does not start with `/`.
    #[error("{0:?} is not an absolute path")]
    Relative(String),
    /// Kubernetes' own validation refuses it, or no request's path can have it.
    #[error("{path:?} contains {part:?}, which no path of a rule may: the path is ignored")]
    Forbidden {
        /// The path.
        path: String,
        /// What of it.
        part: &'static str,
    },
}

/// Sequences that Ingress v1 forbids in a path, and the ends of a path in a request.
const FORBIDDEN: [&str; 8] = ["//", "/./", "/../", "%2f", "%2F", "?", "#", " "];
/// What a path must not end with.
const FORBIDDEN_ENDS: [&str; 2] = ["/.", "/.."];

/// How a rule's path is compared (Ingress v1 `pathType`; `ImplementationSpecific` is `Prefix`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PathKind {
    /// Equal, byte by byte.
    Exact,
    /// Equal or below, element by element; a trailing `/` of rule and request does not count.
    Prefix,
}

/// The path of a rule. Sorted, the rule that wins comes first: more elements, then `Exact`, then more bytes.
/// Elements and not bytes decide, so `Exact /foo` wins over `Prefix /foo/` for the request `/foo`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PathRule {
    kind: PathKind,
    path: String,
}

impl PathRule {
    /// The rule for a path as an Ingress spells it.
    ///
    /// # Errors
    /// `InvalidPath` if it does not start with `/`, or has what the API server refuses.
    pub fn new(kind: PathKind, path: &str) -> Result<Self, InvalidPath> {
        if !path.starts_with('/') {
            return Err(InvalidPath::Relative(path.to_owned()));
        }
        // As requests are: spelt in one way before they are compared.
        let plain = plain_path(path);
        let path = plain.as_deref().unwrap_or(path);
        let within = FORBIDDEN.into_iter().filter(|part| path.contains(part));
        if let Some(part) = within.chain(FORBIDDEN_ENDS.into_iter().filter(|end| path.ends_with(end))).next()
        {
            return Err(InvalidPath::Forbidden { path: path.to_owned(), part });
        }
        let path = match kind {
            PathKind::Exact => path,
            // One spelling for `/foo` and `/foo/`, which match the same requests; `/` becomes empty.
            PathKind::Prefix => path.strip_suffix('/').unwrap_or(path),
        };
        Ok(Self { kind, path: path.to_owned() })
    }

    /// How it compares.
    #[must_use]
    pub fn kind(&self) -> PathKind {
        self.kind
    }

    /// The path that is compared: of a `Prefix` without its trailing `/`, so empty for `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a request's path (without query, as it is forwarded) falls under it.
    #[must_use]
    pub fn matches(&self, request: &str) -> bool {
        match self.kind {
            PathKind::Exact => request == self.path,
            PathKind::Prefix => request
                .strip_prefix(self.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    fn elements(&self) -> usize {
        self.path.split('/').filter(|element| !element.is_empty()).count()
    }
}

impl Ord for PathRule {
    fn cmp(&self, other: &Self) -> Ordering {
        let key =
            |rule: &Self| (std::cmp::Reverse(rule.elements()), rule.kind, std::cmp::Reverse(rule.path.len()));
        key(self).cmp(&key(other)).then_with(|| self.path.cmp(&other.path))
    }
}

impl PartialOrd for PathRule {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PathKind::Exact => write!(f, "Exact {}", self.path),
            PathKind::Prefix if self.path.is_empty() => f.write_str("Prefix /"),
            PathKind::Prefix => write!(f, "Prefix {}", self.path),
        }
    }
}

/// The path with letters, digits, `-`, `.`, `_` and `~` as themselves, which means the same (RFC 3986 section 2.3):
/// `/%61dmin` is `/admin` to every backend. `None` if none of them is encoded.
#[must_use]
pub fn plain_path(path: &str) -> Option<String> {
    // As nearly every one: nothing is to be spelt otherwise.
    if !path.contains('%') {
        return None;
    }
    let mut plain = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let decoded = rest.get(at + 1..at + 3).and_then(unreserved);
        let decoded = decoded.filter(|digit| !(digit.is_ascii_hexdigit() && is_open(&plain)));
        plain.push(decoded.unwrap_or('%'));
        rest = &rest[if decoded.is_some() { at + 3 } else { at + 1 }..];
    }
    plain.push_str(rest);
    (plain.len() < path.len()).then_some(plain)
}

/// Whether a `%` that encodes nothing is at the end, so that a digit could make it encode something: of `/%%36%31`, which
/// says `%61`, there must not become `/%61`, which says `a`.
fn is_open(plain: &str) -> bool {
    let mut last = plain.bytes().rev();
    match (last.next(), last.next()) {
        (Some(b'%'), _) => true,
        (Some(digit), Some(b'%')) => digit.is_ascii_hexdigit(),
        _ => false,
    }
}

/// The character of two hexadecimal digits, if it needs no encoding.
fn unreserved(digits: &str) -> Option<char> {
    let digit = |at: usize| char::from(digits.as_bytes()[at]).to_digit(16);
    let byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathKind::{Exact, Prefix};

    fn rule(kind: PathKind, path: &str) -> PathRule {
        PathRule::new(kind, path).expect(path)
    }

    /// The table of the Kubernetes documentation, and the edges that it leaves out.
    #[test]
    fn paths_match_as_the_specification_says() {
        for (kind, path, request, expected) in [
            (Prefix, "/", "/any/path", true),
            (Prefix, "/", "/", true),
            (Exact, "/foo", "/foo", true),
            (Exact, "/foo", "/bar", false),
            (Exact, "/foo", "/foo/", false),
            (Exact, "/foo/", "/foo", false),
            (Exact, "/foo", "/FOO", false),
            (Prefix, "/foo", "/foo", true),
            (Prefix, "/foo", "/foo/", true),
            (Prefix, "/foo/", "/foo", true),
            (Prefix, "/foo/", "/foo/", true),
            (Prefix, "/foo", "/FOO", false),
            (Prefix, "/aaa/bb", "/aaa/bbb", false),
            (Prefix, "/aaa/bbb", "/aaa/bbb", true),
            (Prefix, "/aaa/bbb/", "/aaa/bbb", true),
            (Prefix, "/aaa/bbb", "/aaa/bbb/", true),
            (Prefix, "/aaa/bbb", "/aaa/bbb/ccc", true),
            (Prefix, "/aaa/bbb", "/aaa/bbbxyz", false),
            (Prefix, "/aaa", "/aaaccc", false),
        ] {
            assert_eq!(rule(kind, path).matches(request), expected, "{kind:?} {path} {request}");
        }
    }

    #[test]
    fn the_winner_sorts_first() {
        for (winner, loser) in [
            (rule(Prefix, "/aaa/bbb"), rule(Prefix, "/aaa")),
            (rule(Prefix, "/aaa"), rule(Prefix, "/")),
            (rule(Exact, "/foo"), rule(Prefix, "/foo")),
            (rule(Exact, "/foo"), rule(Prefix, "/foo/")),
            (rule(Prefix, "/a/b"), rule(Exact, "/long-element")),
        ] {
            assert!(winner < loser, "{winner} before {loser}");
        }
    }

    #[test]
    fn relative_paths_are_refused() {
        assert!(PathRule::new(Prefix, "foo").is_err());
        assert!(PathRule::new(Exact, "").is_err());
    }

    /// As the API server's validation, which a folder does not pass through.
    #[test]
    fn what_no_request_can_match_is_refused() {
        for path in [
            "/a//b", "//", "/a/./b", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb", "/a?b=1", "/a#b", "/a b",
        ] {
            assert!(matches!(PathRule::new(Prefix, path), Err(InvalidPath::Forbidden { .. })), "{path}");
        }
        for path in ["/.well-known", "/a.b", "/a..b", "/...", "/a%20b"] {
            assert!(PathRule::new(Exact, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_need_not_be_encoded_is_not() {
        for (sent, expected) in [
            ("/admin", None),
            ("/a%20b%2Fc%25%3f", None),
            ("/100%", None),
            ("/%6", None),
            ("/%zz", None),
            ("/%61dmin", Some("/admin")),
            ("/%2Dx/%7E%5f%2fy%41", Some("/-x/~_%2fyA")),
            // Once, and not what it becomes.
            ("/%25%36%31", Some("/%2561")),
            // Nothing becomes encoded that was not.
            ("/%%36%31", Some("/%%361")),
            ("/%6%31", None),
            ("/%%32e%%32e/", None),
            ("/%%300", None),
            ("/%%2e%67", Some("/%.g")),
        ] {
            assert_eq!(plain_path(sent).as_deref(), expected, "{sent}");
        }
        assert!(rule(Prefix, "/%7Euser").matches("/~user/x"), "rules are spelt so, too");
    }
}
