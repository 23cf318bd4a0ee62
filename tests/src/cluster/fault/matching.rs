//! Which requests are meant.

use http::Method;

/// Requests by method, path and kind.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Matching {
    methods: Vec<Method>,
    path: String,
    watches: Option<bool>,
}

impl Matching {
    /// All requests.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Those whose path has this in it: `/ingresses`, `/leases/edgelb-node-`.
    #[must_use]
    pub fn path(part: &str) -> Self {
        Self { path: part.to_owned(), ..Self::default() }
    }

    /// Of these, only with one of the methods.
    #[must_use]
    pub fn methods(self, methods: &[Method]) -> Self {
        Self { methods: methods.to_vec(), ..self }
    }

    /// Of these, only those that write.
    #[must_use]
    pub fn writes(self) -> Self {
        self.methods(&[Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
    }

    /// Of these, only watches (`true`), or all others.
    #[must_use]
    pub fn watches(self, watches: bool) -> Self {
        Self { watches: Some(watches), ..self }
    }

    pub(super) fn holds(&self, method: &Method, path: &str, query: &str) -> bool {
        let is_watch = query.split('&').any(|part| matches!(part, "watch=true" | "watch=1" | "watch"));
        (self.methods.is_empty() || self.methods.contains(method))
            && path.contains(&self.path)
            && self.watches.is_none_or(|watches| watches == is_watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_match_by_all_that_is_said() {
        let path = "/api/v1/namespaces/a/secrets/b";
        let check = |matching: Matching, method: Method, query: &str, expected: bool| {
            assert_eq!(matching.holds(&method, path, query), expected, "{matching:?} {method} {query}");
        };
        check(Matching::all(), Method::GET, "", true);
        check(Matching::path("/secrets"), Method::GET, "watch=true", true);
        check(Matching::path("/services"), Method::GET, "", false);
        check(Matching::path("/secrets").writes(), Method::GET, "", false);
        check(Matching::path("/secrets").writes(), Method::PATCH, "fieldManager=x", true);
        check(Matching::all().watches(true), Method::GET, "a=b&watch=true", true);
        check(Matching::all().watches(true), Method::GET, "allowWatchBookmarks=true", false);
        check(Matching::all().watches(false), Method::GET, "watch=true", false);
    }
}
