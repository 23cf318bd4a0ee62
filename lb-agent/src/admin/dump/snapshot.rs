//! A snapshot as JSON for people: what of the objects this node acts by. Each field is named here one by one, as in `Dump`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::digest;
use serde::Serialize;
use x509_parser::time::ASN1Time;

use crate::model::{
    Backend, Certificate, HostPattern, HostRoutes, KeyKind, Listener, ListenerProtocol, Member, Problem,
    RouteTable, Rule, Service, ServiceAddress, Severity, Snapshot,
};

#[derive(Debug, Serialize)]
pub(super) struct SnapshotDump {
    /// The generation of the membership history; 0 without one.
    membership: u64,
    members: Vec<MemberDump>,
    vips: Vec<IpAddr>,
    services: Vec<ServiceDump>,
    listeners: Vec<ListenerDump>,
    /// Listeners name theirs by its place here: those of the same classes share one.
    route_tables: Vec<RouteTableDump>,
    certificates: Vec<CertificateDump>,
    problems: Vec<ProblemDump>,
}

#[derive(Debug, Serialize)]
struct MemberDump {
    name: String,
    id: u16,
    address: IpAddr,
    weight: u32,
}

#[derive(Debug, Serialize)]
struct ServiceDump {
    address: String,
    object: String,
    has_listener: bool,
}

#[derive(Debug, Serialize)]
struct ListenerDump {
    address: SocketAddr,
    protocol: &'static str,
    object: String,
    classes: Vec<String>,
    route_table: usize,
}

#[derive(Debug, Serialize)]
struct RouteTableDump {
    hosts: Vec<HostDump>,
    default_backend: Option<BackendDump>,
    /// Secrets by host of `spec.tls`.
    certificates: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Serialize)]
struct HostDump {
    host: String,
    rules: Vec<RuleDump>,
    default_backend: Option<BackendDump>,
}

#[derive(Debug, Serialize)]
struct RuleDump {
    path: String,
    ingress: String,
    backend: BackendDump,
}

#[derive(Debug, Serialize)]
struct BackendDump {
    service: String,
    protocol: &'static str,
    /// The target of its health checks.
    health_check: Option<String>,
    endpoints: Vec<SocketAddr>,
    unavailable: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct CertificateDump {
    secret: String,
    dns_names: Vec<String>,
    key_kind: &'static str,
    /// Seconds since the Unix epoch.
    not_before: i64,
    /// The same.
    not_after: i64,
    /// The same for people.
    expires: Option<String>,
    /// SHA-256 of the leaf, as `openssl x509 -fingerprint -sha256` gives it but for the colons.
    sha256: String,
}

#[derive(Debug, Serialize)]
struct ProblemDump {
    severity: &'static str,
    origin: Option<String>,
    object: Option<String>,
    field: String,
    message: String,
}

impl SnapshotDump {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let tables = distinct_tables(snapshot);
        Self {
            membership: snapshot.membership.number,
            members: snapshot.members.values().map(MemberDump::new).collect(),
            vips: snapshot.vips.iter().copied().collect(),
            services: snapshot.services.iter().map(ServiceDump::new).collect(),
            listeners: snapshot
                .listeners
                .iter()
                .map(|(address, listener)| ListenerDump::new(*address, listener, &tables))
                .collect(),
            route_tables: tables.iter().map(|table| RouteTableDump::new(table)).collect(),
            certificates: certificates(&tables),
            problems: snapshot.problems.iter().map(ProblemDump::new).collect(),
        }
    }
}

/// Each table once, in the order of the listeners.
fn distinct_tables(snapshot: &Snapshot) -> Vec<&Arc<RouteTable>> {
    let mut tables: Vec<&Arc<RouteTable>> = Vec::new();
    for listener in snapshot.listeners.values() {
        if place_of(&listener.routes, &tables).is_none() {
            tables.push(&listener.routes);
        }
    }
    tables
}

fn place_of(table: &Arc<RouteTable>, tables: &[&Arc<RouteTable>]) -> Option<usize> {
    tables.iter().position(|known| Arc::ptr_eq(known, table))
}

/// Each certificate once, by its Secret.
fn certificates(tables: &[&Arc<RouteTable>]) -> Vec<CertificateDump> {
    let all = tables.iter().flat_map(|table| table.certificates.values().flat_map(|chosen| chosen.iter()));
    let mut distinct: Vec<_> = all.map(|certificate| CertificateDump::new(certificate)).collect();
    distinct.sort();
    distinct.dedup();
    distinct
}

impl MemberDump {
    fn new(member: &Member) -> Self {
        Self { name: member.name.clone(), id: member.id, address: member.address, weight: member.weight }
    }
}

impl ServiceDump {
    fn new((address, service): (&ServiceAddress, &Service)) -> Self {
        Self {
            address: address.to_string(),
            object: service.object.to_string(),
            has_listener: service.has_listener,
        }
    }
}

impl ListenerDump {
    fn new(address: SocketAddr, listener: &Listener, tables: &[&Arc<RouteTable>]) -> Self {
        Self {
            address,
            protocol: match listener.protocol {
                ListenerProtocol::Http => "http",
                ListenerProtocol::Https => "https",
            },
            object: listener.object.to_string(),
            classes: listener.classes.iter().cloned().collect(),
            route_table: place_of(&listener.routes, tables).unwrap_or_default(),
        }
    }
}

impl RouteTableDump {
    fn new(table: &RouteTable) -> Self {
        let secrets = |certificates: &[Arc<Certificate>]| {
            certificates.iter().map(|certificate| certificate.secret.to_string()).collect()
        };
        Self {
            hosts: table.hosts.iter().map(HostDump::new).collect(),
            default_backend: table.default_backend.as_ref().map(|default| BackendDump::new(&default.backend)),
            certificates: table
                .certificates
                .iter()
                .map(|(host, certificates)| (host.to_string(), secrets(certificates)))
                .collect(),
        }
    }
}

impl HostDump {
    fn new((host, routes): (&HostPattern, &Arc<HostRoutes>)) -> Self {
        Self {
            host: host.to_string(),
            rules: routes.rules.iter().map(RuleDump::new).collect(),
            default_backend: routes
                .default_backend
                .as_ref()
                .map(|default| BackendDump::new(&default.backend)),
        }
    }
}

impl RuleDump {
    fn new(rule: &Rule) -> Self {
        Self {
            path: rule.path.to_string(),
            ingress: rule.ingress.to_string(),
            backend: BackendDump::new(&rule.backend),
        }
    }
}

impl BackendDump {
    fn new(backend: &Backend) -> Self {
        let (endpoints, unavailable) = match &backend.endpoints {
            Ok(endpoints) => (endpoints.clone(), None),
            Err(reason) => (Vec::new(), Some(reason.words())),
        };
        Self {
            service: backend.id.to_string(),
            protocol: backend.protocol.name(),
            health_check: backend.treatment.check.as_ref().map(|check| check.path.to_string()),
            endpoints,
            unavailable,
        }
    }
}

impl CertificateDump {
    fn new(certificate: &Certificate) -> Self {
        Self {
            secret: certificate.secret.to_string(),
            dns_names: certificate.dns_names.clone(),
            key_kind: match certificate.key_kind {
                KeyKind::Ecdsa => "ecdsa",
                KeyKind::Rsa => "rsa",
            },
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            expires: ASN1Time::from_timestamp(certificate.not_after).ok().map(|time| time.to_string()),
            sha256: certificate.chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default(),
        }
    }
}

fn fingerprint(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ProblemDump {
    fn new(problem: &Problem) -> Self {
        Self {
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            origin: problem.origin.as_ref().map(ToString::to_string),
            object: problem.object.as_ref().map(ToString::to_string),
            field: problem.field.clone(),
            message: problem.message.clone(),
        }
    }
}
