//! Many connections through a VIP, and which node each was answered by.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::http::Connection;
use super::{Lab, Node};

/// Connections that are open at one time.
const AT_ONCE: usize = 8;

/// How long a connection may take to be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections by the name of the node that answered.
pub type Spread = BTreeMap<String, usize>;

/// Makes connections to a listener of plain HTTP, each with one request, and counts who answers.
/// `progress` is told about each.
///
/// # Errors
/// The first connection's that is not answered by a pod.
pub fn measure(
    lab: &Lab,
    to: SocketAddr,
    host: &str,
    connections: usize,
    progress: impl Fn() + Sync,
) -> Result<Spread> {
    let counted: Vec<Result<Spread>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                let share = (connections + worker) / AT_ONCE;
                let progress = &progress;
                scope.spawn(move || lab.client.run(|| count(lab, to, host, share, progress)))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut spread: Spread = lab.edges.iter().map(|node| (node.name.clone(), 0)).collect();
    for part in counted {
        for (name, count) in part? {
            *spread.entry(name).or_default() += count;
        }
    }
    Ok(spread)
}

/// The node whose proxy has this connection: pods say who asked them.
///
/// # Errors
/// If the connection is broken, or the answer is not a pod's.
pub fn owner<'a, S: std::io::Read + std::io::Write>(
    lab: &'a Lab,
    connection: &mut Connection<S>,
    host: &str,
) -> Result<&'a Node> {
    let answer = connection.fetch(host, "/")?;
    node_of(lab, answer.field("peer")?.parse()?)
}

fn count(lab: &Lab, to: SocketAddr, host: &str, connections: usize, progress: &impl Fn()) -> Result<Spread> {
    let mut spread = Spread::new();
    for _ in 0..connections {
        let stream = std::net::TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Connection::new(stream);
        // The proxy closes first: at the client, TIME_WAIT would use up the ports.
        let answer = connection.send("GET", host, "/", &[("Connection", "close")])?;
        let node = node_of(lab, answer.field("peer")?.parse()?)?;
        connection.await_end()?;
        *spread.entry(node.name.clone()).or_default() += 1;
        progress();
    }
    Ok(spread)
}

fn node_of(lab: &Lab, address: IpAddr) -> Result<&Node> {
    let mut nodes = lab.edges.iter();
    nodes
        .find(|node| node.link.host.both().contains(&address))
        .with_context(|| format!("{address} is no node's"))
}
