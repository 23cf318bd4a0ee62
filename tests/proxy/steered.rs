//! Sockets for `sk_lookup`: the address that a connection came in for chooses its listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_agent::l7::{Bind, Config, Proxy};
use lb_agent::metrics::Metrics;
use lb_agent::model::{ListenerProtocol, Snapshot};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::support::{Backend, Http, Table, listener, raw_exchange, request};

#[tokio::test]
async fn ordinary_sockets_stand_beside_steered_ones() {
    let (steered, ordinary) = (Backend::says("steered").await, Backend::says("ordinary").await);
    let key: SocketAddr = "127.0.0.7:0".parse().expect("an address");
    let metrics = Metrics::new(&mut Registry::default());
    let proxy = Proxy::start(Config::new(2, Bind::Both(vec![key])), metrics).expect("proxy starts");
    proxy.listen(&[]).expect("it listens");
    let [(configured, bound)] = *proxy.bound_addresses() else { panic!("{:?}", proxy.bound_addresses()) };
    assert_eq!(configured, key);
    let vip = proxy.steered_sockets()[0].address;
    assert!(proxy.steered_sockets().iter().all(|socket| socket.address != bound), "none of them is for VIPs");
    let listeners = [(vip, &steered), (key, &ordinary)].map(|(address, backend)| {
        let routes = Arc::new(Table::all_to(&[backend.address]));
        (address, listener(ListenerProtocol::Http, "edgelb", &routes))
    });
    proxy.publish(&Snapshot { generation: 1, listeners: listeners.into(), ..Snapshot::default() });
    for _ in 0..8 {
        assert_eq!(Http::get(vip, "a", "/").await.text(), "steered");
        assert_eq!(Http::get(bound, "a", "/").await.text(), "ordinary");
    }
}

#[tokio::test]
async fn who_comes_before_the_first_state_waits_for_it() {
    let backend = Backend::says("served").await;
    let proxy = Proxy::start(Config::new(2, Bind::Steered), Metrics::new(&mut Registry::default()));
    let proxy = proxy.expect("proxy starts");
    proxy.listen(&[]).expect("it listens");
    let vip = proxy.steered_sockets()[0].address;
    let mut early = Http::one(vip).await;
    let asked = tokio::spawn(async move { early.send(request("a", "/")).await });
    // Long enough for a worker to accept it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let routes = Arc::new(Table::all_to(&[backend.address]));
    let listeners = BTreeMap::from([(vip, listener(ListenerProtocol::Http, "edgelb", &routes))]);
    proxy.publish(&Snapshot { generation: 1, listeners, ..Snapshot::default() });
    assert_eq!(asked.await.expect("it is answered").text(), "served");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("it is bound");
    for bind in [Bind::Addresses(vec![taken]), Bind::Both(vec![taken])] {
        let started = Proxy::start(Config::new(1, bind), Metrics::new(&mut Registry::default()));
        let error = started.err().expect("the port is taken").to_string();
        assert!(error.contains(&format!("cannot listen on {taken}, where another program does")), "{error}");
    }
}

#[tokio::test]
async fn connections_are_served_by_the_listener_that_they_came_in_for() {
    let backend = Backend::says("steered").await;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let proxy = Proxy::start(Config::new(2, Bind::Steered), metrics).expect("proxy starts");
    proxy.listen(&[]).expect("it listens");
    let sockets = proxy.steered_sockets();
    for family in [false, true] {
        let group: Vec<_> = sockets.iter().filter(|socket| socket.address.is_ipv6() == family).collect();
        assert!(group.iter().all(|socket| socket.address == group[0].address), "one group: {group:?}");
        assert_eq!(group.iter().map(|socket| socket.worker).collect::<Vec<_>>(), [0, 1]);
    }
    let [served, stray] = [sockets[0].address, sockets[1].address];
    assert_ne!(served.is_ipv6(), stray.is_ipv6());
    let routes = Arc::new(Table::all_to(&[backend.address]));
    let listeners = BTreeMap::from([(served, listener(ListenerProtocol::Http, "edgelb", &routes))]);
    proxy.publish(&Snapshot { generation: 1, listeners, ..Snapshot::default() });
    for _ in 0..20 {
        assert_eq!(Http::get(served, "a", "/").await.text(), "steered");
    }
    assert_eq!(raw_exchange(stray, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, "");
    let mut exported = String::new();
    encode(&mut exported, &registry).expect("text format");
    assert!(exported.contains("lb_l7_stray_connections_total 1\n"), "{exported}");
}
