//! HTTP and HTTPS through the VIP: routes by host and path, certificates by name, replies from the VIP.

use std::net::SocketAddr;

use anyhow::Result;
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::{API, DOCS, SHOP};
use lb_tests::lab::{Topology, tls};
use rustls::HandshakeKind;

use crate::{PATIENCE, connect, with_site};

/// Ports of one client: enough that every node owns some of its flows.
const TRIES: usize = 24;

#[test]
fn requests_are_routed_by_host_and_path() -> Result<()> {
    with_site("requests_are_routed_by_host_and_path", &Topology::default(), |lab, _| {
        for vip in lab.vip().both() {
            let to = SocketAddr::new(vip, 80);
            for _ in 0..TRIES {
                let mut connection = connect(lab, to)?;
                assert_eq!(connection.stream().peer_addr()?, to);
                for (host, path, app) in [
                    (SHOP, "/", "shop"),
                    (SHOP, "/api/items", "api"),
                    (SHOP, "/apiary", "shop"),
                    (API, "/", "api"),
                    (DOCS, "/api", "shop"),
                ] {
                    let answer = connection.fetch(host, path)?;
                    assert_eq!(answer.status, 200, "{host}{path}");
                    assert!(answer.field("pod")?.starts_with(app), "{host}{path}: {}", answer.field("pod")?);
                    assert_eq!(
                        answer.field("x-forwarded-for")?,
                        connection.stream().local_addr()?.ip().to_string()
                    );
                    assert_eq!(answer.field("x-forwarded-proto")?, "http");
                }
                assert_eq!(connection.fetch("unknown.example.org", "/")?.status, 404);
            }
        }
        Ok(())
    })
}

#[test]
fn certificates_are_chosen_by_name() -> Result<()> {
    with_site("certificates_are_chosen_by_name", &Topology::default(), |lab, site| {
        for vip in lab.vip().both() {
            let to = SocketAddr::new(vip, 443);
            for (host, certificate) in [(SHOP, &site.shop), (DOCS, &site.docs)] {
                for _ in 0..TRIES {
                    let stream = lab.client.connect(to, PATIENCE)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    let mut connection = Connection::new(tls::handshake(&lab.authority, host, stream)?);
                    assert_eq!(tls::server_certificate(connection.stream())?, certificate.der, "{host}");
                    let answer = connection.fetch(host, "/")?;
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.field("x-forwarded-proto")?, "https");
                }
            }
        }
        Ok(())
    })
}

/// Whichever node has the flow: all derive the keys of tickets from one secret.
#[test]
fn sessions_resume_at_every_node() -> Result<()> {
    with_site("sessions_resume_at_every_node", &Topology::default(), |lab, _| {
        let to = SocketAddr::new(lab.vip().v4.into(), 443);
        let client = tls::trust(&lab.authority)?;
        for number in 0..TRIES {
            let stream = lab.client.connect(to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut connection = Connection::new(tls::handshake_with(&client, SHOP, stream)?);
            let kind = connection.stream().conn.handshake_kind();
            let expected = if number == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(kind, Some(expected), "connection {number}");
            assert_eq!(connection.fetch(SHOP, "/")?.status, 200);
        }
        let resumed = "lb_l7_tls_handshakes_total{version=\"1.3\",kind=\"resumed\"}";
        let mut nodes = 0;
        for node in &lab.edges {
            nodes += u32::from(node.metric(resumed)? > 0.0);
        }
        assert!(nodes > 1, "one node had all flows");
        Ok(())
    })
}

/// More than one segment both ways, with the encapsulation's overhead on the way in.
#[test]
fn bodies_pass_whole_both_ways() -> Result<()> {
    with_site("bodies_pass_whole_both_ways", &Topology::default(), |lab, _| {
        let body = vec![b'u'; 300_000];
        for vip in lab.vip().both() {
            for _ in 0..TRIES {
                let mut connection = connect(lab, SocketAddr::new(vip, 80))?;
                assert_eq!(connection.fetch(SHOP, "/bytes/300000")?.body.len(), 300_000);
                let answer = connection.post(SHOP, "/", &body)?;
                assert_eq!(answer.field("body-bytes")?, "300000");
            }
        }
        Ok(())
    })
}

#[test]
fn websockets_are_tunnelled() -> Result<()> {
    use std::io::{Read, Write};
    with_site("websockets_are_tunnelled", &Topology::default(), |lab, _| {
        for vip in lab.vip().both() {
            let mut connection = connect(lab, SocketAddr::new(vip, 80))?;
            let upgrade = [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            assert_eq!(connection.send("GET", SHOP, "/", &upgrade)?.status, 101);
            for word in [b"first", b"again"] {
                connection.stream_mut().write_all(word)?;
                let mut back = [0; 5];
                connection.stream_mut().read_exact(&mut back)?;
                assert_eq!(&back, word);
            }
        }
        Ok(())
    })
}
