//! What has the proxy ask clients for segments that fit: what members say of the ways between them. A client's packet may
//! take any: from its first hop to the owner, and from one member of a row to the next. So the smallest one counts, and as a
//! member knows only those that lead away from it, what others say of theirs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::writer;
use crate::admin::Live;
use crate::l7::Proxy;
use crate::model::{Heard, Turn};

/// So long nothing less is heard before longer segments are asked for: who has just started knows its ways only once a packet
/// of full size came back, and a connection keeps what it was told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has it follow the ways for as long as it is polled. An agent that has not got the packet path hears of nobody.
pub(super) async fn follow(live: &Live, proxy: &Proxy) -> Infallible {
    let mut live = live.clone();
    let (mut before, mut since) = (None, Instant::now());
    loop {
        let holds = *live.turn.borrow_and_update() == Turn::Holding;
        let now = smallest(&live).filter(|_| holds);
        if now != before {
            (before, since) = (now, Instant::now());
        }
        let due = since + PATIENCE;
        let may_rise = Instant::now() >= due;
        if let Some(inner_mtu) = now {
            proxy.limit_packets(inner_mtu, may_rise);
        }
        tokio::select! {
            Ok(()) = live.turn.changed() => {}
            Ok(()) = writer::changed(&mut live.kernel) => {}
            Ok(()) = writer::changed(&mut live.heard) => {}
            () = sleep_until(due), if !may_rise => {}
            else => std::future::pending().await,
        }
    }
}

fn smallest(live: &Live) -> Option<u16> {
    let own = live.kernel.as_ref()?.borrow().inner_mtu;
    smallest_of(own, &live.heard.as_ref()?.borrow())
}

/// Of this node's own and of what others say, as far as they know.
fn smallest_of(own: u16, heard: &BTreeMap<u16, Heard>) -> Option<u16> {
    let said = heard.values().map(|heard| heard.inner_mtu);
    said.chain([own]).filter(|&known| known != 0).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_way_counts_whoever_knows_it() {
        for (own, said, expected) in [
            (0, &[][..], None),
            (1452, &[], Some(1452)),
            (1452, &[1452, 1252], Some(1252)),
            (1252, &[1452], Some(1252)),
            // One of before, which says nothing of it.
            (1452, &[0], Some(1452)),
            (0, &[0, 1432], Some(1432)),
        ] {
            let heard = |(id, &inner_mtu)| (id, Heard { inner_mtu, ..Heard::default() });
            let heard = (1..).zip(said).map(heard).collect();
            assert_eq!(smallest_of(own, &heard), expected, "{own} {said:?}");
        }
    }
}
