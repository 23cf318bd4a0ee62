//! What gives the proxy the secret of its session tickets and cookies: what gives the packet path its key, for all nodes
//! have that.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::flow_key::Given;
use crate::l7::Proxy;

/// How often a file is looked at. A node that is late makes full handshakes, and sends clients elsewhere, meanwhile.
const LOOK: Duration = Duration::from_secs(5);

/// Has the proxy go by the secret that is given, for as long as it is polled. Nodes that nothing gives one go each by
/// its own.
pub(super) async fn follow(given: Option<Given>, proxy: &Proxy) -> Infallible {
    let Some(mut given) = given else { return std::future::pending().await };
    loop {
        if let Some(secret) = given.secret() {
            proxy.go_by(&secret);
        }
        tokio::select! {
            () = given.changed() => {}
            () = sleep(LOOK), if given.is_looked_at() => {}
        }
    }
}
