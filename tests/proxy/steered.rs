//! Sockets for `sk_lookup`: the address that a connection came in for chooses its listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_agent::l7::{Bind, Config, Proxy};
use lb_agent::metrics::Metrics;
use lb_agent::model::{ListenerProtocol, Snapshot};
use prometheus_client::registry::Registry;

use super::support::{Backend, Http, Table, listener, raw_exchange};

#[tokio::test]
async fn connections_are_served_by_the_listener_that_they_came_in_for() {
    let backend = Backend::says("steered").await;
    let metrics = Metrics::new(&mut Registry::default());
    let proxy = Proxy::start(Config::new(2, Bind::Steered), metrics.clone()).expect("proxy starts");
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
    assert_eq!(metrics.strays.get(), 1);
}
