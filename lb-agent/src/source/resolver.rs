//! DNS names -> addresses, for Services of type ExternalName. Off the path of requests: names are looked up before
//! they are needed and again from time to time, and a name that cannot be resolved any more keeps its last addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

/// Looked up again so long after an answer, a little sooner or later so that nodes do not ask all at once. The
/// system's resolver does not tell how long an answer holds.
const REFRESH: Duration = Duration::from_secs(30);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Names that are looked up at one time. Each takes a thread: the system's resolver blocks.
const AT_ONCE: usize = 8;

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// Its addresses, the last ones that there were.
    pub addresses: BTreeSet<IpAddr>,
    /// Why the last look-up brought none.
    pub failure: Option<String>,
}

/// Names with what is known of them.
pub type Answers = BTreeMap<String, Answer>;

/// How a name is looked up; blocks.
type Lookup = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Keeps names resolved for as long as it is polled.
#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Lookup,
    refresh: Duration,
    retry: Duration,
    /// When each name is due; `None` while it is looked up.
    names: BTreeMap<String, Option<Instant>>,
    answers: Answers,
    under_way: usize,
    found: (UnboundedSender<Found>, UnboundedReceiver<Found>),
}

type Found = (String, io::Result<Vec<IpAddr>>);

impl Resolver {
    /// Asks the system, as everything else on the node does.
    pub(super) fn new() -> Self {
        Self::with(lookup)
    }

    fn with(lookup: Lookup) -> Self {
        let (names, answers) = (BTreeMap::new(), Answers::new());
        let found = mpsc::unbounded_channel();
        Self { lookup, refresh: REFRESH, retry: RETRY, names, answers, under_way: 0, found }
    }

    /// Makes these the names that are kept resolved; others are forgotten.
    pub(super) fn want(&mut self, wanted: &BTreeSet<String>) {
        self.names.retain(|name, _| wanted.contains(name));
        self.answers.retain(|name, _| wanted.contains(name));
        for name in wanted {
            self.names.entry(name.clone()).or_insert_with(|| Some(Instant::now()));
        }
    }

    /// What is known now.
    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Waits until something else is known of a name. Nothing is lost if it is dropped.
    pub(super) async fn changed(&mut self) {
        loop {
            let next = self.begin();
            let found = tokio::select! {
                found = self.found.1.recv() => found,
                () = at(next) => continue,
            };
            let Some((name, found)) = found else { continue };
            self.under_way -= 1;
            if self.take(&name, found) {
                return;
            }
        }
    }

    /// Begins what is due; says when something will be.
    fn begin(&mut self) -> Option<Instant> {
        let now = Instant::now();
        for (name, due) in &mut self.names {
            if self.under_way == AT_ONCE {
                // The end of one of them begins the next.
                return None;
            }
            if due.is_none_or(|due| due > now) {
                continue;
            }
            let (asked, lookup, tell) = (name.clone(), self.lookup, self.found.0.clone());
            // A thread of its own, and not the runtime's: the agent's end does not wait for it.
            let thread = thread::Builder::new().name("resolve".to_owned());
            let begun = thread.spawn(move || {
                let found = lookup(&asked);
                // Nobody may want it any more.
                let _ = tell.send((asked, found));
            });
            match begun {
                Ok(_) => {
                    *due = None;
                    self.under_way += 1;
                }
                Err(_) => *due = Some(now + self.retry),
            }
        }
        self.names.values().flatten().min().copied()
    }

    /// Takes an answer; says whether it is news.
    fn take(&mut self, name: &str, found: io::Result<Vec<IpAddr>>) -> bool {
        let Some(due) = self.names.get_mut(name) else { return false };
        let pause = if found.is_ok() { self.refresh } else { self.retry };
        *due = Some(Instant::now() + pause.mul_f64(fastrand::f64().mul_add(0.2, 0.9)));
        let is_first = !self.answers.contains_key(name);
        let answer = self.answers.entry(name.to_owned()).or_default();
        let before = answer.clone();
        answer.failure = match found {
            Ok(addresses) if !addresses.is_empty() => {
                answer.addresses = addresses.into_iter().map(|address| address.to_canonical()).collect();
                None
            }
            Ok(_) => Some("it has no address".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        is_first || *answer != before
    }
}

/// The whole name first, which is what such a Service stands for; then as a person would type it, which finds those
/// of the hosts file, too.
fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let ask = |name: &str| -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    };
    ask(&format!("{name}.")).or_else(|_| ask(name))
}

async fn at(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::timeout;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    async fn changed(resolver: &mut Resolver) {
        timeout(Duration::from_secs(20), resolver.changed()).await.expect("an answer in time");
    }

    #[tokio::test]
    async fn the_system_is_asked() {
        let mut resolver = Resolver::new();
        resolver.want(&names(&["localhost", "no-such-name.invalid"]));
        changed(&mut resolver).await;
        changed(&mut resolver).await;
        let answers = resolver.answers();
        assert!(answers["localhost"].addresses.iter().all(IpAddr::is_loopback), "{answers:?}");
        assert!(!answers["localhost"].addresses.is_empty(), "{answers:?}");
        assert!(answers["no-such-name.invalid"].failure.is_some(), "{answers:?}");
        resolver.want(&names(&["localhost"]));
        assert_eq!(resolver.answers().len(), 1, "what nobody wants is forgotten");
    }

    /// What the next look-ups find.
    static NEXT: Mutex<Vec<Option<&str>>> = Mutex::new(Vec::new());

    #[tokio::test]
    async fn the_last_good_answer_stays() {
        NEXT.lock().expect("no test panicked").extend([Some("192.0.2.1"), None, Some("192.0.2.2")]);
        let mut resolver = Resolver::with(|_| {
            let mut next = NEXT.lock().expect("no test panicked");
            let found = if next.is_empty() { Some("192.0.2.2") } else { next.remove(0) };
            let found = found.map(|address| vec![address.parse().expect("an address")]);
            found.ok_or_else(|| io::Error::other("no server answers"))
        });
        resolver.refresh = Duration::from_millis(10);
        resolver.retry = Duration::from_millis(10);
        resolver.want(&names(&["x.org"]));
        for (address, failure) in
            [("192.0.2.1", None), ("192.0.2.1", Some("no server answers")), ("192.0.2.2", None)]
        {
            changed(&mut resolver).await;
            let answer = &resolver.answers()["x.org"];
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(answer.addresses, BTreeSet::from([address]));
            assert_eq!(answer.failure.as_deref(), failure);
        }
        assert!(
            timeout(Duration::from_millis(100), resolver.changed()).await.is_err(),
            "the same is no news"
        );
    }
}
