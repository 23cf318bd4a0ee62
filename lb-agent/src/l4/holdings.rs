//! The connections that this node holds, and which memberships still have to be in rows for their sake: the kernel's
//! sockets are asked, nobody keeps a list.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lb_common::hash::{FlowKey, Ports, Tuple, flow_hash};
use lb_common::row::{MemberId, bucket};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::warn;

use super::keys::{Keys, fingerprint};
use super::memberships::Opened;
use super::sockets::{self, Connection};
use super::wanted::words;
use crate::model::{Holdings, Protocol, Step};

/// How often sockets are counted while somebody waits for their end.
const PRESSING: Duration = Duration::from_secs(1);

/// How often else.
const AT_REST: Duration = Duration::from_secs(10);

/// What is to be counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) vips: BTreeSet<IpAddr>,
    pub(crate) keys: Keys,
    /// This node.
    pub(crate) this: MemberId,
    /// The generations in the kernel.
    pub(crate) steps: Vec<(u64, Step)>,
    /// The memberships in which flows may have opened, the newest first.
    pub(crate) opened: Vec<Opened>,
    /// Whether somebody waits for connections to end.
    pub(crate) is_pressing: bool,
}

/// Counts, again and again, until nobody asks any more.
pub(crate) async fn follow(
    mut questions: watch::Receiver<Option<Question>>,
    holdings: watch::Sender<Option<Holdings>>,
) {
    let mut seen = Seen::default();
    let mut is_told = false;
    loop {
        let question = questions.borrow_and_update().clone();
        let pace = question.as_ref().filter(|question| question.is_pressing).map_or(AT_REST, |_| PRESSING);
        if let Some(question) = question {
            let counted = spawn_blocking(move || {
                let counted = sockets::connections().map(|all| seen.count(&all, &question, Instant::now()));
                (seen, counted)
            });
            let Ok((kept, counted)) = counted.await else { return };
            seen = kept;
            if let (Err(error), false) = (&counted, is_told) {
                warn!(%error, "the kernel does not tell of its sockets (inet_diag): former members stay in rows to the deadline");
            }
            is_told = counted.is_err();
            holdings.send_replace(counted.ok());
        }
        tokio::select! {
            changed = questions.changed() => if changed.is_err() { return },
            () = sleep(pace) => {}
        }
    }
}

/// When connections were seen first: the kernel does not keep it.
#[derive(Debug, Default)]
struct Seen(HashMap<u64, Instant>);

impl Seen {
    fn count(&mut self, all: &[Connection], question: &Question, now: Instant) -> Holdings {
        let ours = all.iter().filter(|connection| question.vips.contains(&connection.local.ip()));
        let mut before = std::mem::take(&mut self.0);
        let opened = question.opened.iter().map(Opened::print).collect();
        let mut holdings = Holdings { steps: question.steps.clone(), opened, ..Holdings::default() };
        for connection in ours {
            // What a flood leaves half open is nobody's connection; but a handshake needs its rows as others do.
            if connection.is_half_open {
                holdings.half_open += 1;
            } else {
                holdings.held += 1;
                let first = before.remove(&connection.cookie).unwrap_or(now);
                self.0.insert(connection.cookie, first);
            }
            let Some((at, opened)) = question.opened_in(connection) else { continue };
            holdings.needed = Some(holdings.needed.map_or(opened.number, |least| least.min(opened.number)));
            // By another key it may be the membership in force that leads to it.
            let newest = question.opened.first().map(|newest| newest.fingerprint);
            if at > 0 && newest != Some(opened.fingerprint) {
                holdings.former.insert(opened.fingerprint);
            }
            holdings.former.extend(question.former_key(opened));
        }
        holdings.oldest = self.0.values().min().map(|&first| now.saturating_duration_since(first));
        holdings
    }
}

impl Question {
    /// The newest membership in which the connection's packets find this node as opener. None if this node opens
    /// its bucket in none: then it opened here because the opener was down, or a membership ago that is retired.
    fn opened_in(&self, connection: &Connection) -> Option<(usize, &Opened)> {
        let tuple = tuple(connection.remote, connection.local)?;
        let is_opener =
            |opened: &Opened, key| opened.openers[bucket(flow_hash(key, &tuple)) as usize] == self.this;
        self.opened
            .iter()
            .enumerate()
            .find(|(_, opened)| self.key(opened).is_some_and(|key| is_opener(opened, key)))
    }

    /// The key of such a membership, if it is not the one in force.
    fn former_key(&self, opened: &Opened) -> Option<u32> {
        opened.key.filter(|&print| print != fingerprint(&self.keys.in_force))
    }

    /// The one by which flows opened in a membership; `None` if this node does not know it.
    fn key(&self, opened: &Opened) -> Option<&FlowKey> {
        match opened.key {
            None => Some(&self.keys.in_force),
            Some(print) => self.keys.all().find(|key| fingerprint(key) == print),
        }
    }
}

/// A TCP flow as its packets show it.
pub(super) fn tuple(from: SocketAddr, to: SocketAddr) -> Option<Tuple> {
    let ports = Ports {
        source: from.port().to_be(),
        destination: to.port().to_be(),
        protocol: Protocol::Tcp.number(),
    };
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [source, destination] = [source, destination].map(|ip| u32::from_ne_bytes(ip.octets()));
            Some(Tuple::V4 { source, destination, ports })
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [source, destination] = [source, destination].map(|ip| words(ip.octets()));
            Some(Tuple::V6 { source, destination, ports })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use lb_common::row::BUCKETS;
    use tokio::time::timeout;

    use super::*;
    use crate::l4::keys;

    const THIS: MemberId = 1;
    const OTHER: MemberId = 2;
    const PATIENCE: Duration = Duration::from_secs(10);

    fn all_at(number: u64, opener: MemberId) -> Opened {
        Opened {
            number,
            fingerprint: 100 + number as u32,
            key: None,
            openers: vec![opener; BUCKETS as usize].into(),
        }
    }

    fn question(vip: IpAddr, opened: Vec<Opened>) -> Question {
        let vips = BTreeSet::from([vip]);
        Question {
            vips,
            keys: Keys::only(keys::derive(b"a secret of these tests")),
            this: THIS,
            steps: vec![(7, Step::Switch)],
            opened,
            is_pressing: true,
        }
    }

    fn nothing(opened: &[u32]) -> Holdings {
        Holdings { steps: vec![(7, Step::Switch)], opened: opened.to_vec(), ..Holdings::default() }
    }

    fn connection(port: u16, cookie: u64) -> Connection {
        let local = SocketAddr::from(([203, 0, 113, 10], 443));
        let remote = SocketAddr::from(([192, 0, 2, 7], port));
        Connection { local, remote, is_half_open: false, cookie }
    }

    #[test]
    fn only_what_is_at_vips_counts_and_ages_by_its_cookie() {
        let mut seen = Seen::default();
        let question = question(IpAddr::from([203, 0, 113, 10]), vec![all_at(3, THIS)]);
        let foreign = Connection { local: SocketAddr::from(([192, 0, 2, 1], 22)), ..connection(9, 9) };
        let start = Instant::now();
        let holdings = seen.count(&[connection(1, 1), foreign], &question, start);
        assert_eq!((holdings.held, holdings.oldest), (1, Some(Duration::ZERO)));
        let later = start + PATIENCE;
        let holdings = seen.count(&[connection(1, 1), connection(2, 2)], &question, later);
        assert_eq!((holdings.held, holdings.oldest), (2, Some(PATIENCE)));
        assert_eq!((holdings.needed, holdings.former.len()), (Some(3), 0));
        let holdings = seen.count(&[connection(1, 3)], &question, later);
        assert_eq!(holdings.oldest, Some(Duration::ZERO), "the same ports, but another connection");
        let half_open = Connection { is_half_open: true, ..connection(3, 4) };
        let holdings = seen.count(&[connection(1, 3), half_open], &question, later);
        assert_eq!((holdings.held, holdings.half_open, holdings.needed), (1, 1, Some(3)));
        assert_eq!(seen.count(&[], &question, later), nothing(&[103]));
    }

    #[test]
    fn a_connection_needs_the_newest_membership_that_leads_to_it() {
        let vip = IpAddr::from([203, 0, 113, 10]);
        let check = |opened: Vec<Opened>, needed, former: &[u32]| {
            let holdings = Seen::default().count(&[connection(1, 1)], &question(vip, opened), Instant::now());
            assert_eq!((holdings.needed, holdings.former), (needed, former.iter().copied().collect()));
        };
        check(vec![all_at(3, THIS), all_at(2, THIS)], Some(3), &[]);
        check(vec![all_at(3, OTHER), all_at(2, THIS), all_at(1, THIS)], Some(2), &[102]);
        check(vec![all_at(3, OTHER), all_at(2, OTHER), all_at(1, THIS)], Some(1), &[101]);
        check(vec![all_at(3, OTHER)], None, &[]);
    }

    /// The bucket must be the one that the packet path sees.
    #[test]
    fn a_connection_is_in_the_bucket_of_its_packets() {
        let ports = Ports { source: 40_000_u16.to_be(), destination: 443_u16.to_be(), protocol: 6 };
        let ours = |ip: [u8; 4]| u32::from_ne_bytes(ip);
        let packet = Tuple::V4 { source: ours([192, 0, 2, 7]), destination: ours([203, 0, 113, 10]), ports };
        let question = question(IpAddr::from([203, 0, 113, 10]), Vec::new());
        let bucket = bucket(flow_hash(&question.keys.in_force, &packet)) as usize;
        let openers = (0..BUCKETS as usize).map(|at| if at == bucket { THIS } else { OTHER });
        let opened = vec![Opened { openers: openers.collect::<Arc<[_]>>(), ..all_at(1, OTHER) }];
        let question = Question { opened, ..question };
        assert!(question.opened_in(&connection(40_000, 1)).is_some());
        assert!(question.opened_in(&connection(40_001, 1)).is_none());
    }

    #[tokio::test]
    async fn the_sockets_of_the_node_are_counted_until_they_end() {
        // An address of its own: nobody else has connections there.
        let listener = TcpListener::bind("127.83.7.19:0").expect("a listener on loopback");
        let at = listener.local_addr().expect("it has an address");
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(at).expect("it listens")).collect();
        let servers: Vec<_> = (0..3).map(|_| listener.accept().expect("one is there").0).collect();
        let opened = vec![all_at(5, OTHER), all_at(4, THIS)];
        let (_questions, asked) = watch::channel(Some(question(at.ip(), opened)));
        let (holdings, mut told) = watch::channel(None);
        let counting = tokio::spawn(follow(asked, holdings));
        let held = async |told: &mut watch::Receiver<Option<Holdings>>, count| {
            let is_it = |holdings: &Option<Holdings>| holdings.as_ref().is_some_and(|h| h.held == count);
            let found = timeout(PATIENCE, told.wait_for(is_it)).await.expect("soon").expect("it counts");
            found.clone().expect("it is what was waited for")
        };
        let holdings = held(&mut told, 3).await;
        assert_eq!((holdings.needed, holdings.former), (Some(4), BTreeSet::from([104])));
        drop((clients, servers));
        assert_eq!(held(&mut told, 0).await, nothing(&[105, 104]));
        counting.abort();
    }
}
