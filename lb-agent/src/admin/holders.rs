//! Which member has a connection: asked of all the others, for `lb-agent explain`.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::model::Holder;

/// A member's answer, or that there was none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The member's name.
    pub name: String,
    /// Its id.
    pub id: u16,
    /// Whether its kernel has the connection; `None` for no answer in time.
    pub has_connection: Option<bool>,
}

type Ask = dyn Fn(SocketAddr, SocketAddr) -> UnboundedReceiver<Holder> + Send + Sync;

/// Asks all other members for the connection between a client and a VIP. What it returns ends in time.
pub struct AskMembers(Box<Ask>);

impl fmt::Debug for AskMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskMembers")
    }
}

impl AskMembers {
    /// One that asks in this way.
    pub fn new(
        ask: impl Fn(SocketAddr, SocketAddr) -> UnboundedReceiver<Holder> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(ask))
    }

    /// Asks now.
    pub(super) fn ask(&self, [client, vip]: [SocketAddr; 2]) -> UnboundedReceiver<Holder> {
        (self.0)(client, vip)
    }
}

/// All answers, by id.
pub(super) async fn all(mut answers: UnboundedReceiver<Holder>) -> Vec<Asked> {
    let mut all = Vec::new();
    while let Some(Holder { name, id, has_connection }) = answers.recv().await {
        all.push(Asked { name, id, has_connection });
    }
    all.sort_by_key(|asked| asked.id);
    all
}

/// The query that asks for it.
pub(super) fn query(client: SocketAddr, vip: SocketAddr) -> String {
    format!("from={client}&to={vip}")
}

/// The client and the VIP of a query; `None` if it is none.
pub(super) fn asked(query: Option<&str>) -> Option<[SocketAddr; 2]> {
    let (from, to) = query?.split_once('&')?;
    Some([from.strip_prefix("from=")?.parse().ok()?, to.strip_prefix("to=")?.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_gives_back_what_it_was_made_of() {
        for ends in [["192.0.2.9:40000", "203.0.113.10:80"], ["[2001:db8::9]:40000", "[2001:db8::10]:80"]] {
            let [client, vip] = ends.map(|end| end.parse().expect("an address"));
            assert_eq!(asked(Some(&query(client, vip))), Some([client, vip]));
        }
        for wrong in [None, Some(""), Some("from=192.0.2.9:1"), Some("to=192.0.2.9:1&from=192.0.2.9:1")] {
            assert_eq!(asked(wrong), None, "{wrong:?}");
        }
    }
}
