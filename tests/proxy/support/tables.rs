//! Route tables and certificates, made by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_agent::model::{
    Backend, BackendId, BackendPort, BackendProtocol, BackendTls, Certificate, DefaultBackend, HostPattern,
    HostRoutes, KeyKind, Kind, ObjectRef, PathKind, PathRule, RouteTable, Rule, TlsPolicy, Treatment,
    Unavailable,
};

/// Builds a `RouteTable` step by step.
#[derive(Default)]
pub(crate) struct Table {
    hosts: BTreeMap<HostPattern, HostRoutes>,
    certificates: BTreeMap<HostPattern, Vec<Arc<Certificate>>>,
    default_backend: Option<DefaultBackend>,
    tls: TlsPolicy,
}

impl Table {
    /// Everything goes to these endpoints.
    pub(crate) fn all_to(endpoints: &[SocketAddr]) -> RouteTable {
        Self::default().rule("", "/", endpoints).build()
    }

    /// Everything goes to these endpoints, which speak this.
    pub(crate) fn all_spoken(endpoints: &[SocketAddr], protocol: BackendProtocol) -> RouteTable {
        Self::default().default_spoken(endpoints, protocol).build()
    }

    /// Everything is refused for this reason.
    pub(crate) fn all_unavailable(reason: Unavailable) -> RouteTable {
        Self { default_backend: Some(default_backend("gone", Err(reason))), ..Self::default() }.build()
    }

    /// A prefix rule.
    pub(crate) fn rule(self, host: &str, path: &str, endpoints: &[SocketAddr]) -> Self {
        self.add(host, PathKind::Prefix, path, endpoints)
    }

    /// An exact rule.
    pub(crate) fn exact(self, host: &str, path: &str, endpoints: &[SocketAddr]) -> Self {
        self.add(host, PathKind::Exact, path, endpoints)
    }

    /// The default backend of a host, or with an empty one of the table.
    pub(crate) fn default_backend(mut self, host: &str, endpoints: &[SocketAddr]) -> Self {
        let backend = Some(default_backend("default", Ok(endpoints.to_vec())));
        match host {
            "" => self.default_backend = backend,
            host => self.host(host).default_backend = backend,
        }
        self
    }

    /// The default backend of the table, whose endpoints speak this.
    pub(crate) fn default_spoken(self, endpoints: &[SocketAddr], protocol: BackendProtocol) -> Self {
        let found = default_backend("all", Ok(endpoints.to_vec()));
        let backend = Arc::new(Backend { protocol, ..Backend::clone(&found.backend) });
        Self { default_backend: Some(DefaultBackend { backend, ..found }), ..self }
    }

    /// A certificate for a host; an empty one stands for all.
    pub(crate) fn certificate(mut self, host: &str, certificate: &Arc<Certificate>) -> Self {
        let pattern = HostPattern::parse(host).expect("host");
        self.certificates.entry(pattern).or_default().push(certificate.clone());
        self
    }

    /// What handshakes may agree on.
    pub(crate) fn tls(self, tls: TlsPolicy) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn build(self) -> RouteTable {
        let hosts = self.hosts.into_iter();
        let certificates = self.certificates.into_iter();
        RouteTable {
            hosts: hosts.map(|(host, routes)| (host, Arc::new(routes))).collect(),
            default_backend: self.default_backend,
            certificates: certificates.map(|(host, all)| (host, all.into())).collect(),
            tls: self.tls,
        }
    }

    fn add(mut self, host: &str, kind: PathKind, path: &str, endpoints: &[SocketAddr]) -> Self {
        let rule = Rule {
            path: PathRule::new(kind, path).expect("absolute path"),
            backend: backend(path, Ok(endpoints.to_vec())),
            ingress: Arc::new(ObjectRef::new(Kind::Ingress, "shop", "web")),
        };
        let routes = self.host(host);
        routes.rules.push(rule);
        routes.rules.sort_by(|a, b| a.path.cmp(&b.path));
        self
    }

    fn host(&mut self, host: &str) -> &mut HostRoutes {
        self.hosts.entry(HostPattern::parse(host).expect("host")).or_default()
    }
}

fn default_backend(service: &str, endpoints: Result<Vec<SocketAddr>, Unavailable>) -> DefaultBackend {
    let object = Arc::new(ObjectRef::new(Kind::Ingress, "shop", "web"));
    DefaultBackend { backend: backend(service, endpoints), object }
}

fn backend(service: &str, endpoints: Result<Vec<SocketAddr>, Unavailable>) -> Arc<Backend> {
    let id = BackendId { namespace: "shop".into(), service: service.into(), port: BackendPort::Number(80) };
    Arc::new(Backend { id, protocol: BackendProtocol::default(), treatment: Treatment::default(), endpoints })
}

/// What endpoints speak, over TLS with this name for SNI if there is one.
pub(crate) fn protocol(is_http2: bool, server_name: Option<&str>) -> BackendProtocol {
    let tls = |name: &str| Arc::new(BackendTls::unverified(name.to_owned()));
    BackendProtocol { is_http2, tls: server_name.map(tls), proxy_header: None }
}

/// A self-signed certificate of this kind of key for these names; the first name is its Secret's too.
pub(crate) fn certificate(kind: KeyKind, names: &[&str]) -> Arc<Certificate> {
    let algorithm = match kind {
        KeyKind::Ecdsa => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyKind::Rsa => &rcgen::PKCS_RSA_SHA256,
    };
    let key = rcgen::KeyPair::generate_for(algorithm).expect("key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = rcgen::CertificateParams::new(names.clone()).expect("names");
    let made = params.self_signed(&key).expect("certificate");
    Arc::new(Certificate {
        secret: ObjectRef::new(Kind::Secret, "shop", names[0].clone()),
        chain: Arc::from([Box::from(made.der().as_ref())]),
        key: key.serialize_der().into(),
        key_kind: kind,
        staple: None,
        dns_names: names,
        not_before: 0,
        not_after: 4_102_444_800,
    })
}

/// What a client sees of a certificate.
pub(crate) fn identity(certificate: &Certificate) -> Vec<u8> {
    certificate.chain[0].to_vec()
}
