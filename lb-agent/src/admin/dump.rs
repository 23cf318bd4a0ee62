//! The node's state as JSON for people. Each field is named here one by one: what a snapshot holds and
//! this file does not name, private keys above all, cannot get out.

mod memberships;
mod snapshot;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use self::memberships::MembershipsDump;
use self::snapshot::SnapshotDump;
use super::drain::DrainReport;
use super::live::{Attachment, Live, utc};
use crate::model::{Basis, Following, Peer, Watch};

/// Everything there is to see of a node.
#[derive(Debug, Serialize)]
pub(super) struct Dump {
    node: String,
    version: &'static str,
    /// Seconds since the Unix epoch.
    started: u64,
    not_ready: Vec<String>,
    drain: DrainReport,
    /// VIPs that this node may attract.
    attracted: BTreeSet<IpAddr>,
    generation: Generations,
    interfaces: Vec<InterfaceDump>,
    /// What this node sees of the other members.
    peers: Vec<PeerDump>,
    /// No member answers, and this node's own link, routes or gateway are to blame.
    alone: bool,
    /// The stage of this agent for which it does not answer others.
    stuck: Option<String>,
    /// What rows are made of; `null` without a packet path.
    memberships: Option<MembershipsDump>,
    /// How a cluster is followed; `null` for a folder.
    source: Option<SourceDump>,
    snapshot: Option<SnapshotDump>,
}

/// Where the snapshots have come to; `null` is "not yet", or for the kernel "no packet path".
#[derive(Debug, Serialize)]
struct Generations {
    snapshot: Option<u64>,
    kernel: Option<u64>,
    proxy: Option<u64>,
}

#[derive(Debug, Serialize)]
struct InterfaceDump {
    name: String,
    why: String,
    mode: String,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct PeerDump {
    name: String,
    id: u16,
    state: &'static str,
    /// For how long.
    seconds: u64,
    /// The same for people.
    words: String,
    round_trip_microseconds: Option<u64>,
    asked: u64,
    lost: u64,
    flaps: u64,
}

#[derive(Debug, Serialize)]
struct SourceDump {
    /// `cluster`, `stored`, or `nothing` yet.
    basis: &'static str,
    /// When what is in use was stored.
    stored: Option<String>,
    has_flow_key: bool,
    watches: Vec<WatchDump>,
}

#[derive(Debug, Serialize)]
struct WatchDump {
    name: &'static str,
    condition: &'static str,
    since: String,
    message: String,
    failures: u64,
}

impl Dump {
    /// The state of this moment.
    pub(super) fn new(live: &Live) -> Self {
        let snapshot = live.snapshot();
        let known = |generation: u64| (generation > 0).then_some(generation);
        let peers = live.peers();
        Self {
            node: live.node.clone(),
            version: live.version,
            started: live.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            drain: DrainReport::new(live),
            attracted: live.attracted.borrow().clone(),
            not_ready: live.not_ready(),
            generation: Generations {
                snapshot: snapshot.as_ref().map(|snapshot| snapshot.generation),
                kernel: live.kernel_generation().and_then(known),
                proxy: known(live.proxy_generation()),
            },
            interfaces: live.attachments().iter().map(InterfaceDump::new).collect(),
            peers: peers.all.iter().map(|peer| PeerDump::new(peer, live)).collect(),
            alone: live.is_alone(),
            stuck: peers.stuck,
            memberships: live.history.as_ref().map(|_| MembershipsDump::new(live)),
            source: live.following().map(SourceDump::new),
            snapshot: snapshot.as_deref().map(SnapshotDump::new),
        }
    }
}

impl PeerDump {
    fn new(peer: &Peer, live: &Live) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            name: peer.name.clone(),
            id: peer.id,
            state: peer.state.label(),
            seconds: peer.since.elapsed().as_secs(),
            words: live.words_of(peer),
            round_trip_microseconds: peer.round_trip.map(micros),
            asked: peer.asked,
            lost: peer.lost,
            flaps: peer.flaps,
        }
    }
}

impl SourceDump {
    fn new(following: Following) -> Self {
        let (basis, stored) = match following.basis {
            Basis::Nothing => ("nothing", None),
            Basis::Stored(written) => ("stored", Some(utc(written))),
            Basis::Cluster => ("cluster", None),
        };
        let watch = |watch: Watch| WatchDump {
            name: watch.name,
            condition: watch.condition.label(),
            since: utc(watch.since),
            message: watch.message,
            failures: watch.failures,
        };
        let watches = following.watches.into_iter().map(watch).collect();
        Self { basis, stored, has_flow_key: following.has_flow_key, watches }
    }
}

impl InterfaceDump {
    fn new(attachment: &Attachment) -> Self {
        let Attachment { interface, why, mode, reason } = attachment.clone();
        Self { name: interface, why, mode, reason }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;
    use std::sync::Arc;

    use serde_json::Value;

    use super::super::live::tests::live;
    use super::*;
    use crate::model::{
        Backend, BackendId, BackendPort, BackendProtocol, Certificate, DefaultBackend, HostPattern,
        HostRoutes, KeyKind, Kind, Listener, ListenerProtocol, Mark, Member, ObjectRef, PathKind, PathRule,
        Problem, Problems, Protocol, RouteTable, Rule, Service, ServiceAddress, SharedMap, Snapshot,
        TlsPolicy, Treatment, Unavailable,
    };

    /// What stands for a private key: text, so that any form of output would show it.
    pub(in crate::admin) const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----super-secret-bytes";

    fn ingress() -> ObjectRef {
        ObjectRef::new(Kind::Ingress, "shop", "web")
    }

    fn certificate() -> Arc<Certificate> {
        Arc::new(Certificate {
            secret: ObjectRef::new(Kind::Secret, "shop", "tls"),
            chain: Arc::from([Box::from(*b"leaf") as Box<[u8]>]),
            key: KEY.into(),
            key_kind: KeyKind::Ecdsa,
            staple: None,
            dns_names: vec!["shop.example.org".to_owned()],
            not_before: 1_700_000_000,
            not_after: 1_800_000_000,
        })
    }

    fn backend(name: &str, endpoints: Result<Vec<SocketAddr>, Unavailable>) -> Arc<Backend> {
        let port = BackendPort::Name("http".to_owned());
        let id = BackendId { namespace: "shop".to_owned(), service: name.to_owned(), port };
        let (protocol, treatment) = (BackendProtocol::default(), Treatment::default());
        Arc::new(Backend { id, protocol, treatment, endpoints })
    }

    fn routes() -> RouteTable {
        let rule = |path, backend| Rule {
            path: PathRule::new(PathKind::Prefix, path).expect("an absolute path"),
            backend,
            ingress: Arc::new(ingress()),
        };
        let endpoint = SocketAddr::from(([203, 0, 113, 7], 8080));
        let rules = vec![
            rule("/cart", backend("cart", Err(Unavailable::NoEndpoint))),
            rule("/", backend("web", Ok(vec![endpoint]))),
        ];
        let host = HostPattern::parse("shop.example.org").expect("a host");
        let of_host = Arc::new(HostRoutes { rules, default_backend: None });
        let certificate = certificate();
        RouteTable {
            tls: TlsPolicy::default(),
            hosts: SharedMap::from_iter([(host.clone(), of_host)]),
            default_backend: Some(DefaultBackend {
                backend: backend("fallback", Err(Unavailable::NoService)),
                object: Arc::new(ingress()),
            }),
            certificates: SharedMap::from_iter([
                (host, Arc::from([Arc::clone(&certificate)])),
                (HostPattern::Any, Arc::from([certificate])),
            ]),
        }
    }

    /// A snapshot with everything in it: two listeners that share their routes.
    pub(in crate::admin) fn snapshot() -> Snapshot {
        let service = ObjectRef::new(Kind::Service, "edge", "vip");
        let vip = IpAddr::from([192, 0, 2, 10]);
        let routes = Arc::new(routes());
        let listener = |protocol| Listener {
            object: service.clone(),
            protocol,
            classes: BTreeSet::from(["edgelb".to_owned()]),
            routes: Arc::clone(&routes),
        };
        let member =
            Member { name: "edge-1".to_owned(), id: 1, address: IpAddr::from([198, 51, 100, 1]), weight: 1 };
        let uncovered = "the certificate does not cover the host";
        Snapshot {
            generation: 7,
            membership: Mark::default(),
            generations: Vec::new(),
            drains: BTreeMap::new(),
            members: BTreeMap::from([("edge-1".to_owned(), member)]),
            vips: BTreeSet::from([vip]),
            services: BTreeMap::from([(
                ServiceAddress { vip, port: 80, protocol: Protocol::Tcp },
                Service { object: service.clone(), has_listener: true },
            )]),
            listeners: BTreeMap::from([
                (SocketAddr::new(vip, 80), listener(ListenerProtocol::Http)),
                (SocketAddr::new(vip, 443), listener(ListenerProtocol::Https)),
            ]),
            problems: Problems::from_iter([Problem::warning(&ingress(), "spec.tls[0]", uncovered)]),
        }
    }

    fn dump() -> Value {
        serde_json::to_value(Dump::new(&live(Some(7), 6, Some(snapshot())))).expect("a dump is JSON")
    }

    fn check(pointer: &str, expected: impl Into<Value>) {
        assert_eq!(dump().pointer(pointer), Some(&expected.into()), "{pointer}");
    }

    #[test]
    fn everything_of_a_snapshot_is_there() {
        check("/node", "edge-1");
        check("/generation", serde_json::json!({"snapshot": 7, "kernel": 7, "proxy": 6}));
        check("/interfaces/0/mode", "generic");
        check("/interfaces/0/reason", "the driver refused");
        check("/snapshot/members/0/address", "198.51.100.1");
        check("/snapshot/vips/0", "192.0.2.10");
        check("/snapshot/services/0/address", "192.0.2.10:80/tcp");
        check("/snapshot/listeners/1/protocol", "https");
        check("/snapshot/listeners/1/classes/0", "edgelb");
        check("/snapshot/route_tables/0/hosts/0/host", "shop.example.org");
        check("/snapshot/route_tables/0/hosts/0/rules/0/path", "Prefix /cart");
        check(
            "/snapshot/route_tables/0/hosts/0/rules/0/backend/unavailable",
            Unavailable::NoEndpoint.words(),
        );
        check("/snapshot/route_tables/0/hosts/0/rules/1/backend/endpoints/0", "203.0.113.7:8080");
        check("/snapshot/route_tables/0/hosts/0/rules/1/ingress", "Ingress shop/web");
        check("/snapshot/route_tables/0/default_backend/service", "shop/fallback:http");
        check("/snapshot/route_tables/0/certificates/*/0", "Secret shop/tls");
        check("/snapshot/problems/0/severity", "warning");
        check("/snapshot/problems/0/object", "Ingress shop/web");
    }

    #[test]
    fn what_is_shared_stands_there_once() {
        check("/snapshot/listeners/0/route_table", 0);
        check("/snapshot/listeners/1/route_table", 0);
        assert_eq!(dump().pointer("/snapshot/route_tables/1"), None);
        assert_eq!(dump().pointer("/snapshot/certificates/1"), None);
    }

    #[test]
    fn certificates_show_what_is_public() {
        check("/snapshot/certificates/0/secret", "Secret shop/tls");
        check("/snapshot/certificates/0/dns_names/0", "shop.example.org");
        check("/snapshot/certificates/0/key_kind", "ecdsa");
        check("/snapshot/certificates/0/not_before", 1_700_000_000);
        check("/snapshot/certificates/0/not_after", 1_800_000_000);
        check("/snapshot/certificates/0/expires", "Jan 15 08:00:00 2027 +00:00");
        // printf leaf | sha256sum
        let sha256 = "9f91161f43433e49a6de6db680d79f60159f2e4ac9172621a12846428158440b";
        check("/snapshot/certificates/0/sha256", sha256);
    }
}
