//! A node with real sockets: what a test run's socket look-up finds. Clients are packets made by hand, which come in
//! by a link from a router's namespace. Who uses it needs root: it panics where it cannot be made.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::fixture::{CLIENT4, CLIENT6, Outer, VIP4, VIP6, address, tuple};
use crate::kernel::Kernel;
use crate::lab::Namespace;
use crate::lab::capture::{Capture, inject};
use crate::lab::netlink::{End, add_address, connect, fixed_neighbour, set_mac, set_up};
use crate::packet::flags::{ACK, FIN, SYN};
use crate::packet::{Ip, NODE_MAC, ROUTER_MAC, Segment, Transport};
use lb_common::hash::Tuple;

/// Where the VIPs are served.
pub const PORT: u16 = 443;

/// First sequence number of every client.
const START: u32 = 1000;

/// A number among the members' that none of them has.
const ROUTER: u16 = 100;

const MADE: &str = "a node in namespaces can be made: these tests need root";

const SOON: Duration = Duration::from_secs(30);

/// A node whose VIPs are served, beside a router that has a route to them.
pub struct Node {
    /// Its network.
    pub namespace: Namespace,
    router: Namespace,
    listeners: Vec<TcpListener>,
    /// Has the listeners in its map, as an agent's are: the kernel then gives them, and half-open sockets of theirs, another
    /// protocol's functions, by which it tells sockets apart.
    _steering: Kernel,
}

/// A connection as its client sees it.
#[derive(Clone, Copy)]
pub struct Client {
    client: IpAddr,
    vip: IpAddr,
    port: u16,
    /// The node's first sequence number.
    answered: u32,
}

impl Node {
    /// Both, with a link between them.
    #[expect(
        clippy::new_without_default,
        reason = "it makes namespaces: nothing that anyone asks for by default"
    )]
    #[must_use]
    pub fn new() -> Self {
        let (namespace, router) =
            (Namespace::passing("node").expect(MADE), Namespace::passing("router").expect(MADE));
        connect(&namespace, "uplink", &router, "node").expect(MADE);
        let (uplink, far) = (
            End { namespace: &namespace, interface: "uplink" },
            End { namespace: &router, interface: "node" },
        );
        for (end, mac) in [(uplink, NODE_MAC), (far, ROUTER_MAC)] {
            set_mac(end, mac).expect(MADE);
            set_up(end, true).expect(MADE);
        }
        for outer in [Outer::V4, Outer::V6] {
            // Without one of its own the kernel sends nothing, whatever source a packet names.
            add_address(&router, "node", address(outer, ROUTER)).expect(MADE);
        }
        for (client, vip) in [(CLIENT4, VIP4), (CLIENT6, VIP6)] {
            add_address(&namespace, "lo", vip).expect(MADE);
            fixed_neighbour(uplink, client, ROUTER_MAC).expect(MADE);
            fixed_neighbour(far, vip, NODE_MAC).expect(MADE);
        }
        let bind = |vip| TcpListener::bind((vip, PORT)).expect(MADE);
        let listeners: Vec<_> = namespace.run(|| [VIP4, VIP6].map(bind).into());
        let mut steering = Kernel::load().expect(MADE);
        steering.steer_to(&listeners).expect(MADE);
        Self { namespace, router, listeners, _steering: steering }
    }

    /// Answers every SYN with a cookie from now on.
    pub fn keep_no_handshakes(&self) {
        self.namespace.set_sysctl("ipv4/tcp_syncookies", "2").expect(MADE);
    }

    /// A client whose SYN has been answered.
    #[must_use]
    pub fn half_open(&self, client: IpAddr, port: u16) -> Client {
        let vip = if client.is_ipv4() { VIP4 } else { VIP6 };
        let mut half = Client { client, vip, port, answered: 0 };
        let mut capture = Capture::like(&self.router, client).expect(MADE);
        inject(&self.router, &half.syn().bytes()).expect(MADE);
        let tcp = if client.is_ipv4() { 20 } else { 40 };
        let ports = [PORT.to_be_bytes(), port.to_be_bytes()].concat();
        let is_answer = |packet: &[u8]| {
            packet.get(tcp..tcp + 4) == Some(&ports[..]) && packet.get(tcp + 13) == Some(&(SYN | ACK))
        };
        let answer = capture.next(SOON, is_answer).expect("the node answers");
        half.answered = u32::from_be_bytes(answer[tcp + 4..tcp + 8].try_into().expect("4 bytes"));
        half
    }

    /// A client with an open connection, and the node's end of it.
    #[must_use]
    pub fn open(&self, client: IpAddr, port: u16) -> (Client, TcpStream) {
        let client = self.half_open(client, port);
        inject(&self.router, &client.ack().bytes()).expect(MADE);
        let listener = &self.listeners[usize::from(client.vip.is_ipv6())];
        let (stream, from) = listener.accept().expect("the handshake is over");
        assert_eq!(from.port(), port);
        (client, stream)
    }

    /// A client whose connection the node closed first: TIME_WAIT at the node.
    #[must_use]
    pub fn closed(&self, client: IpAddr, port: u16) -> Client {
        let (client, stream) = self.open(client, port);
        let mut capture = Capture::like(&self.router, client.client).expect(MADE);
        let tcp = if client.client.is_ipv4() { 20 } else { 40 };
        drop(stream);
        capture
            .next(SOON, |packet| packet.get(tcp + 13).is_some_and(|flags| flags & FIN != 0))
            .expect("the node answers");
        inject(&self.router, &client.segment(FIN | ACK, 1, 2).bytes()).expect(MADE);
        // The kernel's answer to the last FIN: TIME_WAIT has begun.
        capture.next(SOON, |packet| packet.get(tcp + 13) == Some(&ACK)).expect("the node answers");
        client
    }
}

impl Client {
    /// Its connection.
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        tuple(self.client, self.vip, 6, self.port, PORT)
    }

    /// The same from another port, of which the node knows nothing.
    #[must_use]
    pub fn on_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// What it began with.
    #[must_use]
    pub fn syn(&self) -> Ip {
        self.segment_of(Segment { flags: SYN, sequence: START, acknowledged: 0 })
    }

    /// The handshake's third packet, or any later one without data.
    #[must_use]
    pub fn ack(&self) -> Ip {
        self.segment(ACK, 1, 1)
    }

    /// A segment so many bytes behind the start of both directions.
    #[must_use]
    pub fn segment(&self, flags: u8, sent: u32, received: u32) -> Ip {
        let (sequence, acknowledged) = (START.wrapping_add(sent), self.answered.wrapping_add(received));
        self.segment_of(Segment { flags, sequence, acknowledged })
    }

    fn segment_of(&self, segment: Segment) -> Ip {
        Ip::new(self.client, self.vip, Transport::segment(self.port, PORT, segment)).summed()
    }
}
