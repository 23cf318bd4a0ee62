//! A port of a VIP that no Service names is refused, whatever listens on the node's wildcard addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{Lab, Namespace};
use socket2::{Domain, Socket, Type};

use crate::{PATIENCE, edges, with_site};

/// As sshd has it.
const TCP_PORT: u16 = 22;

const UDP_PORT: u16 = 5353;

const WILDCARDS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

#[test]
fn wildcard_listeners_never_answer_on_a_vip() -> Result<()> {
    with_site("wildcard_listeners_never_answer_on_a_vip", &edges(2), |lab, _| {
        let mut held = Vec::new();
        for node in &lab.edges {
            // Else the kernel answers only some of the datagrams that it refuses.
            node.namespace.set_sysctl("ipv4/icmp_ratelimit", "0")?;
            node.namespace.set_sysctl("ipv6/icmp/ratelimit", "0")?;
            for wildcard in WILDCARDS {
                held.push(listen(&node.namespace, wildcard)?);
                echo(&node.namespace, wildcard)?;
            }
        }
        for vip in lab.vip().both() {
            // Many flows: each node is the first hop of some.
            for _ in 0..16 {
                expect_refusal(lab, vip)?;
            }
        }
        for node in &lab.edges {
            for own in node.link.host.both() {
                let at = |error| format!("{own}: {error}");
                lab.client
                    .connect(SocketAddr::new(own, TCP_PORT), PATIENCE)
                    .map_err(at)
                    .map_err(anyhow::Error::msg)?;
                ask(lab, SocketAddr::new(own, UDP_PORT)).with_context(|| format!("{own}"))?;
            }
        }
        Ok(())
    })
}

fn expect_refusal(lab: &Lab, vip: IpAddr) -> Result<()> {
    let tcp = lab.client.connect(SocketAddr::new(vip, TCP_PORT), PATIENCE).map(drop);
    ensure!(tcp.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused), "TCP to {vip}: {tcp:?}");
    let udp = ask(lab, SocketAddr::new(vip, UDP_PORT));
    let refused = udp.as_ref().is_err_and(|error| {
        error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    });
    ensure!(refused, "UDP to {vip}: {udp:?}");
    Ok(())
}

/// Sends a datagram from the client and waits for its echo.
fn ask(lab: &Lab, to: SocketAddr) -> Result<()> {
    let socket = lab.client.run(|| UdpSocket::bind(SocketAddr::new(unspecified(to.ip()), 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(b"who is there?")?;
    socket.recv(&mut [0; 32])?;
    Ok(())
}

fn unspecified(like: IpAddr) -> IpAddr {
    WILDCARDS[usize::from(like.is_ipv6())]
}

fn listen(namespace: &Namespace, address: IpAddr) -> Result<TcpListener> {
    let socket = bound(namespace, address, TCP_PORT, Type::STREAM)?;
    socket.listen(16)?;
    Ok(socket.into())
}

/// A socket of one family alone, as the other has its own.
fn bound(namespace: &Namespace, address: IpAddr, port: u16, kind: Type) -> Result<Socket> {
    let address = SocketAddr::new(address, port);
    namespace.run(|| {
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    })
}

/// Answers each datagram by itself, until nobody has asked for a while.
fn echo(namespace: &Namespace, address: IpAddr) -> Result<()> {
    let socket: UdpSocket = bound(namespace, address, UDP_PORT, Type::DGRAM)?.into();
    socket.set_read_timeout(Some(8 * PATIENCE))?;
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if socket.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    Ok(())
}
