//! Session tickets: where they are taken, and where they are not.

use std::net::SocketAddr;
use std::sync::Arc;

use lb_agent::model::Certificate;
use lb_agent::model::KeyKind::Ecdsa;
use rustls::HandshakeKind::{self, Full, Resumed};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, NamedGroup, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::{Backend, Fixture, Http, Table, all_schemes, certificate, request, tls_client};

const HOST: &str = "a.example.org";
const OTHER: &str = "b.example.org";
const SECRET: &[u8] = b"the secret of all nodes";

/// Keeps sessions without a look at the server's name: offers those of one host to another.
#[derive(Debug)]
struct Careless(ClientSessionMemoryCache);

fn anybody() -> ServerName<'static> {
    ServerName::try_from("anybody").expect("a name")
}

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(anybody(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&anybody())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(anybody(), session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&anybody())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&anybody());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(anybody(), session);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&anybody())
    }
}

fn careless(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = tls_client(&[version], &["http/1.1"], all_schemes());
    config.resumption = Resumption::store(Arc::new(Careless(ClientSessionMemoryCache::new(32))));
    config.enable_early_data = true;
    Arc::new(config)
}

/// A handshake and a request, after which the client has its ticket.
async fn visit(client: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> HandshakeKind {
    let server = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TcpStream::connect(address).await.expect("connect");
    let stream = TlsConnector::from(client.clone()).connect(server, stream).await.expect("handshake");
    let kind = stream.get_ref().1.handshake_kind().expect("a handshake");
    assert_eq!(Http::one_over(stream).await.send(request(name, "/")).await.text(), "ok");
    kind
}

fn table(backend: &Backend, certificates: &[(&str, &Arc<Certificate>)]) -> Table {
    let table = Table::default().rule("", "/", &[backend.address]);
    certificates.iter().fold(table, |table, (host, certificate)| table.certificate(host, certificate))
}

/// A node of the cluster with this secret.
fn node(backend: &Backend, secret: &[u8], certificates: &[(&str, &Arc<Certificate>)]) -> Fixture {
    let fixture = Fixture::start(table(backend, certificates).build());
    fixture.proxy.go_by(secret);
    fixture
}

#[tokio::test]
async fn a_session_resumes_at_another_node() {
    let backend = Backend::says("ok").await;
    let certificate = certificate(Ecdsa, &[HOST]);
    let hosts = [(HOST, &certificate)];
    let [one, other] = [SECRET, SECRET].map(|secret| node(&backend, secret, &hosts));
    let counted = |version: &str, kind: &str| {
        let line = format!("lb_l7_tls_handshakes_total{{version=\"{version}\",kind=\"{kind}\"}}");
        [&one, &other].map(|node| node.metric(&line))
    };
    let foreign = node(&backend, b"another cluster's secret", &hosts);
    for version in [&TLS12, &TLS13] {
        let client = careless(version);
        assert_eq!(visit(&client, one.https(), HOST).await, Full, "{version:?}");
        assert_eq!(visit(&client, other.https(), HOST).await, Resumed, "{version:?}");
        assert_eq!(visit(&client, one.https(), HOST).await, Resumed, "{version:?}");
        assert_eq!(visit(&client, foreign.https(), HOST).await, Full, "{version:?}");
    }
    for version in ["1.2", "1.3"] {
        assert_eq!((counted(version, "full"), counted(version, "resumed")), ([1, 0], [1, 1]), "{version}");
    }
}

#[tokio::test]
async fn sessions_outlive_a_new_secret() {
    let backend = Backend::says("ok").await;
    let certificate = certificate(Ecdsa, &[HOST]);
    let hosts = [(HOST, &certificate)];
    let [one, other] = [SECRET, SECRET].map(|secret| node(&backend, secret, &hosts));
    let client = careless(&TLS13);
    assert_eq!(visit(&client, one.https(), HOST).await, Full);
    other.proxy.go_by(b"the next secret of all nodes");
    assert_eq!(visit(&client, other.https(), HOST).await, Resumed);
    // Now the ticket is of the next secret.
    one.proxy.go_by(b"the next secret of all nodes");
    assert_eq!(visit(&client, one.https(), HOST).await, Resumed);
}

#[tokio::test]
async fn a_ticket_belongs_to_its_certificates() {
    let backend = Backend::says("ok").await;
    let [first, second, renewed] = [HOST, OTHER, HOST].map(|name| certificate(Ecdsa, &[name]));
    for version in [&TLS12, &TLS13] {
        let fixture = node(&backend, SECRET, &[(HOST, &first), (OTHER, &second)]);
        let client = careless(version);
        assert_eq!(visit(&client, fixture.https(), HOST).await, Full, "{version:?}");
        assert_eq!(visit(&client, fixture.https(), OTHER).await, Full, "{version:?}");
        assert_eq!(visit(&client, fixture.https(), OTHER).await, Resumed, "{version:?}");
        let more = table(&backend, &[(HOST, &first), (OTHER, &second), ("c.example.org", &renewed)]);
        fixture.publish(more.build());
        assert_eq!(
            visit(&client, fixture.https(), OTHER).await,
            Resumed,
            "another host changed: {version:?}"
        );
        fixture.publish(table(&backend, &[(HOST, &first), (OTHER, &renewed)]).build());
        assert_eq!(
            visit(&client, fixture.https(), OTHER).await,
            Full,
            "its certificate changed: {version:?}"
        );
    }
}

#[tokio::test]
async fn no_data_comes_before_the_handshake() {
    let backend = Backend::says("ok").await;
    let fixture = node(&backend, SECRET, &[(HOST, &certificate(Ecdsa, &[HOST]))]);
    let client = careless(&TLS13);
    visit(&client, fixture.https(), HOST).await;
    let mut next = ClientConnection::new(client.clone(), anybody()).expect("a client");
    assert!(next.early_data().is_none(), "its ticket allows none");
    assert_eq!(visit(&client, fixture.https(), HOST).await, Full, "it had one: that is used up");
}
