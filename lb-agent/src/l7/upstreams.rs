//! All endpoints that a worker has sent requests to, by address: what it knows of them outlives snapshots.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use foldhash::fast::RandomState;

use super::candidates::Candidates;
use super::observer::Question;
use super::pending::Bounds;
use super::pool::Keeping;
use super::reply::Reply;
use super::sticky::CookieKeys;
use super::target::Target;
use super::upstream::Upstream;
use crate::metrics::Metrics;
use crate::model::BackendProtocol;

pub(super) struct Upstreams {
    /// By the target's place in memory, which is no other one's as long as there is a `Weak` of it.
    candidates: RefCell<HashMap<usize, Known, RandomState>>,
    /// One that speaks two protocols is two.
    all: RefCell<HashMap<(SocketAddr, BackendProtocol), Rc<Upstream>, RandomState>>,
    keeping: Rc<Keeping>,
    bounds: Bounds,
    cookies: CookieKeys,
}

type Known = (Weak<Target>, Rc<Candidates>);

impl Upstreams {
    /// None yet.
    pub(super) fn new(keeping: Keeping, bounds: Bounds, cookies: CookieKeys) -> Self {
        let (candidates, all) = (RefCell::default(), RefCell::default());
        Self { candidates, all, keeping: Rc::new(keeping), bounds, cookies }
    }

    /// The endpoints of a target.
    pub(super) fn of(&self, target: &Arc<Target>) -> Result<Rc<Candidates>, Reply> {
        let place = Arc::as_ptr(target).addr();
        if let Some((_, known)) = self.candidates.borrow().get(&place) {
            return Ok(known.clone());
        }
        let (mut all, endpoints) = (self.all.borrow_mut(), target.endpoints()?);
        let key = |address: &SocketAddr| (*address, target.protocol.clone());
        let joins = endpoints.iter().any(|address| all.contains_key(&key(address)));
        let upstream = |address: &SocketAddr| {
            let made = || Upstream::new(key(address), joins, &self.keeping);
            all.entry(key(address)).or_insert_with(made).clone()
        };
        let made = Rc::new(Candidates::new(
            endpoints.iter().map(upstream).collect(),
            target,
            self.bounds,
            &self.cookies,
        ));
        self.candidates.borrow_mut().insert(place, (Arc::downgrade(target), made.clone()));
        Ok(made)
    }

    /// A second has passed: closes what has been idle for too long, takes back who was set aside for long enough, and
    /// forgets the endpoints that no target has any more. Requests that are under way at them finish.
    pub(super) fn sweep(&self, metrics: &Metrics) {
        self.candidates.borrow_mut().retain(|_, (target, candidates)| {
            let is_used = target.strong_count() > 0;
            if is_used {
                candidates.pass()
            } else {
                candidates.leave()
            }
            is_used
        });
        let now = Instant::now();
        self.all.borrow_mut().retain(|_, upstream| {
            let is_used = upstream.places.get() > 0;
            let is_back = upstream.conduct.take_back(now);
            if is_back {
                upstream.load.rejoin(now);
            }
            if is_back || (!is_used && upstream.conduct.is_out()) {
                metrics.upstream.back();
            }
            if is_used {
                upstream.sweep(&self.keeping)
            } else {
                upstream.close()
            }
            is_used
        });
    }

    /// What is known of these.
    pub(super) fn answer(&self, question: &Question) {
        let all = self.all.borrow();
        // One that speaks two protocols is told of twice, and summed up by who asks.
        let asked = all.iter().filter(|((address, _), _)| question.addresses.contains(address));
        let known = asked.map(|((address, _), upstream)| (*address, upstream.state()));
        // Who asked may have waited for long enough.
        _ = question.answer.send(known.collect());
    }

    /// Closes all idle connections.
    pub(super) fn clear(&self) {
        self.all.borrow().values().for_each(|upstream| upstream.clear());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::l7::deadline::Deadlines;
    use crate::l7::ejection::Offence;
    use crate::l7::limits::Limits;
    use crate::l7::policy::Hints;
    use crate::l7::tries::Tries;
    use crate::l7::upstream::Turn;
    use crate::model::{Backend, BackendId, BackendPort, BackendProtocol, Ejection, Treatment, Unavailable};

    fn target(endpoints: Result<&[u16], Unavailable>) -> Arc<Target> {
        let id = BackendId { namespace: "a".into(), service: "b".into(), port: BackendPort::Number(80) };
        let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        let endpoints = endpoints.map(|ports| ports.iter().map(address).collect());
        let (protocol, treatment) = (BackendProtocol::default(), Treatment::default());
        Arc::new(Target::compile(&Backend { id, protocol, treatment, endpoints }, None, None))
    }

    fn upstreams() -> Upstreams {
        let deadlines = Deadlines::new(Duration::from_millis(10));
        let bounds = Bounds::new(&Limits::default(), 1, Duration::from_secs(1));
        let cookies = CookieKeys::random().expect("random numbers");
        let metrics = Metrics::new(&mut Registry::default());
        Upstreams::new(Keeping::new(&deadlines, 1, Duration::from_secs(1), &metrics), bounds, cookies)
    }

    fn turn(upstreams: &Upstreams, target: &Arc<Target>) -> Turn {
        Tries::new(upstreams.of(target).expect("endpoints"), Hints::default()).next().expect("a first one")
    }

    #[test]
    fn an_endpoint_stays_the_same_as_long_as_a_target_has_it() {
        let (upstreams, metrics) = (upstreams(), Metrics::new(&mut Registry::default()));
        let (one, other) = (target(Ok(&[1])), target(Ok(&[1])));
        let first = turn(&upstreams, &one);
        assert!(std::ptr::eq(first.upstream(), turn(&upstreams, &other).upstream()));
        drop(one);
        upstreams.sweep(&metrics);
        assert!(std::ptr::eq(first.upstream(), turn(&upstreams, &other).upstream()));
        drop(other);
        upstreams.sweep(&metrics);
        assert!(upstreams.all.borrow().is_empty() && upstreams.candidates.borrow().is_empty());
        assert!(!std::ptr::eq(first.upstream(), turn(&upstreams, &target(Ok(&[1]))).upstream()), "it is new");
    }

    #[test]
    fn who_is_forgotten_is_not_set_aside_any_more() {
        let mut registry = Registry::default();
        let (upstreams, metrics) = (upstreams(), Metrics::new(&mut registry));
        let target = target(Ok(&[1, 2]));
        let mut tries = Tries::new(upstreams.of(&target).expect("endpoints"), Hints::default());
        let turn = tries.next().expect("a first one");
        for _ in 0..Ejection::default().failures {
            tries.failed(&turn, Offence::Connect, &Ejection::default(), &metrics);
        }
        upstreams.sweep(&metrics);
        assert!(turn.upstream().conduct.is_out() && exported(&registry, "lb_l7_upstream_ejected 1"));
        drop(target);
        upstreams.sweep(&metrics);
        assert!(exported(&registry, "lb_l7_upstream_ejected 0"));
        assert!(exported(&registry, "lb_l7_upstream_ejections_total{reason=\"connect\"} 1"));
    }

    #[test]
    fn who_is_taken_back_gets_its_share_little_by_little() {
        let (upstreams, metrics) = (upstreams(), Metrics::new(&mut Registry::default()));
        let target = target(Ok(&[1, 2]));
        let candidates = upstreams.of(&target).expect("endpoints");
        let back = candidates.upstreams[0].clone();
        let share = || {
            let ports = (0..1000).map(|_| turn(&upstreams, &target).upstream().address.port());
            ports.filter(|port| *port == back.address.port()).count()
        };
        for upstream in &candidates.upstreams {
            upstream.load.answered(Instant::now(), Duration::from_millis(5));
        }
        assert!((350..650).contains(&share()), "equals share");
        back.conduct.eject(Instant::now(), &Ejection { step: Duration::ZERO, ..Ejection::default() });
        assert_eq!(share(), 0);
        upstreams.sweep(&metrics);
        assert!((10..150).contains(&share()), "half of a tenth at first");
    }

    fn exported(registry: &Registry, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).expect("text format");
        text.lines().any(|found| found == line)
    }

    #[test]
    fn targets_without_endpoints_say_why() {
        let why = |endpoints| upstreams().of(&target(endpoints)).err();
        assert_eq!(why(Err(Unavailable::NoEndpoint)), Some(Reply::Unavailable));
        assert_eq!(why(Err(Unavailable::Unsupported)), Some(Reply::Unsupported));
        assert_eq!(why(Ok(&[])), Some(Reply::Unavailable));
    }
}
