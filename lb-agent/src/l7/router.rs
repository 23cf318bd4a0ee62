//! Which backend answers a request: a listener's `RouteTable`, compiled for fast look-ups. Pure: no IO, no state.
//! The property test holds it against a naive reading of the same table.

use std::sync::Arc;

use super::by_host::ByHost;
use super::path_index::PathIndex;
use super::path_readings;
use super::reply::Reply;
use crate::model::{Backend, DefaultBackend, HostRoutes, ObjectRef, PathRule, RouteTable, Rule};

/// Why a request goes to its backend, the strongest reason first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Matched {
    /// A rule of its host.
    Rule,
    /// Its host's default backend: no rule matched the path.
    HostDefault,
    /// The listener's default backend.
    ListenerDefault,
}

/// Where a route leads, as its target is made of it.
#[derive(Clone, Copy, Debug)]
pub struct Leads<'a> {
    /// The backend.
    pub backend: &'a Arc<Backend>,
    /// The object that says so.
    pub object: &'a Arc<ObjectRef>,
    /// The rule's path; `None` for a default backend.
    pub path: Option<&'a PathRule>,
}

/// A compiled `RouteTable`; `T` stands for what a route becomes.
#[derive(Clone, Debug)]
pub struct Router<T> {
    hosts: ByHost<Arc<HostEntry<T>>>,
    default_backend: Option<T>,
}

#[derive(Debug)]
struct HostEntry<T> {
    paths: PathIndex<T>,
    default_backend: Option<T>,
}

impl<T: Clone> Router<T> {
    /// Compiles a table; `target` says what each route becomes.
    pub fn compile(table: &RouteTable, target: impl FnMut(Leads<'_>) -> T) -> Self {
        Self::default().follow(&RouteTable::default(), table, target)
    }

    /// Compiles a table of which `before` was compiled into this: only the hosts that differ.
    #[must_use]
    pub fn follow(
        &self,
        before: &RouteTable,
        table: &RouteTable,
        mut target: impl FnMut(Leads<'_>) -> T,
    ) -> Self {
        let mut router = self.clone();
        router.default_backend = table.default_backend.as_ref().map(|default| target(default.into()));
        for (pattern, _, routes) in table.hosts.changes(&before.hosts) {
            let entry = routes.map(|routes| Arc::new(HostEntry::compile(routes, &mut target)));
            router.hosts.set(pattern, entry);
        }
        router
    }
}

impl<T> Router<T> {
    /// The backend for a normalised host (`Host::normalise`) and a path as it will be forwarded. The most specific
    /// pattern of the host alone is asked: a path that it does not know does not fall through.
    pub fn find(&self, host: &str, path: &str) -> Option<(Matched, &T)> {
        let entry = self.hosts.get(host);
        if let Some(target) = entry.and_then(|entry| entry.paths.find(path)) {
            return Some((Matched::Rule, target));
        }
        if let Some(target) = entry.and_then(|entry| entry.default_backend.as_ref()) {
            return Some((Matched::HostDefault, target));
        }
        self.default_backend.as_ref().map(|target| (Matched::ListenerDefault, target))
    }

    /// The same, if all readings of the path lead there (`path_readings`). `is_same` compares where routes lead.
    pub(super) fn lead(
        &self,
        host: &str,
        path: &str,
        is_same: impl Fn(&T, &T) -> bool,
    ) -> Result<(Matched, &T), Reply> {
        let found = self.find(host, path);
        let leads_elsewhere = |path: String| match (self.find(host, &path), found) {
            (Some((_, other)), Some((_, target))) => !is_same(other, target),
            (other, found) => other.is_some() != found.is_some(),
        };
        if path_readings::others(path).any(leads_elsewhere) {
            return Err(Reply::AmbiguousPath);
        }
        found.ok_or(Reply::NoRoute)
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { hosts: ByHost::default(), default_backend: None }
    }
}

impl<T> HostEntry<T> {
    fn compile(routes: &HostRoutes, target: &mut impl FnMut(Leads<'_>) -> T) -> Self {
        Self {
            paths: PathIndex::compile(routes.rules.iter().map(|rule| (&rule.path, target(rule.into())))),
            default_backend: routes.default_backend.as_ref().map(|default| target(default.into())),
        }
    }
}

impl<'a> From<&'a Rule> for Leads<'a> {
    fn from(rule: &'a Rule) -> Self {
        Self { backend: &rule.backend, object: &rule.ingress, path: Some(&rule.path) }
    }
}

impl<'a> From<&'a DefaultBackend> for Leads<'a> {
    fn from(default: &'a DefaultBackend) -> Self {
        Self { backend: &default.backend, object: &default.object, path: None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
    use proptest::{prop_assert_eq, test_runner::TestCaseError};

    use super::*;
    use crate::model::{
        BackendId, BackendPort, BackendProtocol, Host, HostPattern, Kind, ObjectRef, PathKind, PathRule,
        Rule, SharedMap, TlsPolicy, Treatment, Unavailable,
    };

    fn backend(number: u16) -> Arc<Backend> {
        let port = BackendPort::Number(number);
        let id = BackendId { namespace: "shop".into(), service: "web".into(), port };
        Arc::new(Backend {
            id,
            protocol: BackendProtocol::default(),
            treatment: Treatment::default(),
            endpoints: Err(Unavailable::NoEndpoint),
        })
    }

    fn default_backend(number: u16) -> DefaultBackend {
        DefaultBackend {
            backend: backend(number),
            object: Arc::new(ObjectRef::new(Kind::Ingress, "shop", "web")),
        }
    }

    fn number(backend: &Backend) -> u16 {
        match backend.id.port {
            BackendPort::Number(number) => number,
            BackendPort::Name(_) => 0,
        }
    }

    fn routes(rules: &[(PathKind, &str, u16)], default: Option<u16>) -> HostRoutes {
        let ingress = Arc::new(ObjectRef::new(Kind::Ingress, "shop", "web"));
        let mut rules: Vec<Rule> = rules
            .iter()
            .map(|(kind, path, number)| Rule {
                path: PathRule::new(*kind, path).expect("absolute path"),
                backend: backend(*number),
                ingress: ingress.clone(),
            })
            .collect();
        rules.sort_by(|a, b| a.path.cmp(&b.path));
        rules.dedup_by(|a, b| a.path == b.path);
        HostRoutes { rules, default_backend: default.map(default_backend) }
    }

    fn table(hosts: Vec<(&str, HostRoutes)>, default: Option<u16>) -> RouteTable {
        RouteTable {
            tls: TlsPolicy::default(),
            hosts: hosts
                .into_iter()
                .map(|(host, routes)| (HostPattern::parse(host).expect("host"), Arc::new(routes)))
                .collect(),
            default_backend: default.map(default_backend),
            certificates: SharedMap::default(),
        }
    }

    /// The table read as the specification is written: patterns in their order, rules in theirs.
    fn naive(table: &RouteTable, host: &str, path: &str) -> Option<(Matched, u16)> {
        let host = Host::from_authority(host);
        let routes = table.hosts.iter().find(|(pattern, _)| pattern.matches(&host)).map(|(_, routes)| routes);
        let rule = routes.and_then(|routes| {
            routes.rules.iter().filter(|rule| rule.path.matches(path)).min_by(|a, b| a.path.cmp(&b.path))
        });
        if let Some(rule) = rule {
            return Some((Matched::Rule, number(&rule.backend)));
        }
        if let Some(default) = routes.and_then(|routes| routes.default_backend.as_ref()) {
            return Some((Matched::HostDefault, number(&default.backend)));
        }
        table.default_backend.as_ref().map(|default| (Matched::ListenerDefault, number(&default.backend)))
    }

    fn found(table: &RouteTable, host: &str, path: &str) -> Option<(Matched, u16)> {
        let router = Router::compile(table, |leads| number(leads.backend));
        router.find(&Host::normalise(host), path).map(|(matched, number)| (matched, *number))
    }

    #[test]
    fn requests_go_where_the_specification_says() {
        use PathKind::{Exact, Prefix};
        let table = table(
            vec![
                (
                    "foo.com",
                    routes(&[(Prefix, "/", 1), (Prefix, "/aaa/bbb", 2), (Exact, "/aaa/bbb", 3)], None),
                ),
                ("bar.com", routes(&[(Prefix, "/foo/", 4), (Exact, "/foo", 5)], Some(6))),
                ("only.bar.com", routes(&[(Exact, "/x", 7)], None)),
                ("*.bar.com", routes(&[(Prefix, "/", 8)], None)),
                ("", routes(&[(Prefix, "/any", 9)], None)),
            ],
            Some(10),
        );
        for (host, path, expected) in [
            ("foo.com", "/", (Matched::Rule, 1)),
            ("FOO.com:80", "/aaa/bb", (Matched::Rule, 1)),
            ("foo.com.", "/aaa/bbb", (Matched::Rule, 3)),
            ("foo.com", "/aaa/bbb/", (Matched::Rule, 2)),
            ("foo.com", "/aaa/bbb/c", (Matched::Rule, 2)),
            ("foo.com", "/aaa/bbbc", (Matched::Rule, 1)),
            ("bar.com", "/foo", (Matched::Rule, 5)),
            ("bar.com", "/foo/", (Matched::Rule, 4)),
            ("bar.com", "/other", (Matched::HostDefault, 6)),
            ("a.bar.com", "/", (Matched::Rule, 8)),
            ("a.b.bar.com", "/any", (Matched::Rule, 9)),
            ("only.bar.com", "/x", (Matched::Rule, 7)),
            ("only.bar.com", "/any", (Matched::ListenerDefault, 10)),
            ("", "/any/thing", (Matched::Rule, 9)),
            ("", "*", (Matched::ListenerDefault, 10)),
        ] {
            assert_eq!(found(&table, host, path), Some(expected), "{host} {path}");
        }
    }

    #[test]
    fn nothing_is_found_without_a_default() {
        let table = table(vec![("foo.com", routes(&[(PathKind::Prefix, "/a", 1)], None))], None);
        assert_eq!(found(&table, "foo.com", "/b"), None);
        assert_eq!(found(&table, "bar.com", "/a"), None);
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just(""), Just("a"), Just("b"), Just("ab")], 0..4)
            .prop_map(|elements| format!("/{}", elements.join("/")))
    }

    fn host() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just("a"), Just("b")], 1..4).prop_map(|labels| labels.join("."))
    }

    fn pattern() -> impl Strategy<Value = String> {
        prop_oneof![host(), host().prop_map(|host| format!("*.{host}")), Just(String::new())]
    }

    /// A request may repeat a `/`, a rule may not.
    fn rules() -> impl Strategy<Value = Vec<(bool, String, u16)>> {
        let rule_path =
            path().prop_filter("a rule's path", |path| PathRule::new(PathKind::Exact, path).is_ok());
        prop::collection::vec((any::<bool>(), rule_path, any::<u16>()), 0..6)
    }

    type Hosts = Vec<(String, Vec<(bool, String, u16)>, Option<u16>)>;

    fn table_of(hosts: &Hosts, default: Option<u16>) -> RouteTable {
        let kind = |exact: bool| if exact { PathKind::Exact } else { PathKind::Prefix };
        let hosts = hosts.iter().map(|(host, rules, default)| {
            let rules: Vec<_> =
                rules.iter().map(|(exact, path, number)| (kind(*exact), path.as_str(), *number)).collect();
            (host.as_str(), routes(&rules, *default))
        });
        table(hosts.collect(), default)
    }

    fn check(hosts: &Hosts, default: Option<u16>, host: &str, path: &str) -> Result<(), TestCaseError> {
        let table = table_of(hosts, default);
        prop_assert_eq!(found(&table, host, path), naive(&table, host, path));
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(
            hosts in prop::collection::vec((pattern(), rules(), any::<Option<u16>>()), 0..5),
            default in any::<Option<u16>>(),
            host in host(),
            path in path(),
        ) {
            check(&hosts, default, &host, &path)?;
        }

        #[test]
        fn what_follows_another_table_is_as_if_compiled_from_nothing(
            first in prop::collection::vec((pattern(), rules(), any::<Option<u16>>()), 0..5),
            second in prop::collection::vec((pattern(), rules(), any::<Option<u16>>()), 0..5),
            requests in prop::collection::vec((host(), path()), 1..8),
        ) {
            let (first, second) = (table_of(&first, Some(1)), table_of(&second, None));
            let target = |leads: Leads<'_>| number(leads.backend);
            let followed = Router::compile(&first, target).follow(&first, &second, target);
            for (host, path) in requests {
                let found = followed.find(&host, &path).map(|(matched, number)| (matched, *number));
                prop_assert_eq!(found, naive(&second, &host, &path));
            }
        }
    }
}
