//! Which connections a worker takes: so many in all, and so many of one client. Those beyond are closed at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::limits::{Limit, Limits};

/// One of so many places is kept for those that come: with fewer left, idle connections go sooner.
const ROOM: usize = 8;

/// The connections of one worker.
pub(super) struct Admission {
    limit: usize,
    per_client: usize,
    handshakes: usize,
    handshakes_per_client: usize,
    open: Cell<usize>,
    by_client: RefCell<HashMap<IpAddr, Own, RandomState>>,
    shaking: Cell<usize>,
    /// Whether it is crowded, as of the last look, and how often it has become so.
    crowd: Cell<(bool, u32)>,
}

/// What one client has.
#[derive(Default)]
struct Own {
    open: usize,
    shaking: usize,
}

impl Admission {
    /// For one of so many workers.
    pub(super) fn new(limits: &Limits, workers: usize) -> Rc<Self> {
        let share = |limit| usize::try_from(limits.of(limit)).unwrap_or(usize::MAX).div_ceil(workers.max(1));
        Rc::new(Self {
            limit: share(Limit::Connections),
            per_client: share(Limit::ConnectionsPerClient),
            handshakes: share(Limit::Handshakes),
            handshakes_per_client: share(Limit::HandshakesPerClient),
            open: Cell::default(),
            by_client: RefCell::default(),
            shaking: Cell::default(),
            crowd: Cell::default(),
        })
    }

    /// Takes a connection of this client, until the guest is dropped. Of a proxy in front of us, which has those of many,
    /// it is not known yet whose it is.
    pub(super) fn admit(self: &Rc<Self>, peer: Option<IpAddr>) -> Result<Guest, Limit> {
        if self.open.get() >= self.limit {
            return Err(Limit::Connections);
        }
        let client = peer.map(|peer| self.count(peer)).transpose()?;
        self.open.set(self.open.get() + 1);
        Ok(Guest { admission: self.clone(), client })
    }

    fn count(&self, peer: IpAddr) -> Result<IpAddr, Limit> {
        let client = client(peer);
        let mut by_client = self.by_client.borrow_mut();
        let own = by_client.entry(client).or_default();
        if own.open >= self.per_client {
            return Err(Limit::ConnectionsPerClient);
        }
        own.open += 1;
        Ok(client)
    }

    /// Looks whether so many are open that those without work have to go: whether that is new.
    pub(super) fn look(&self) -> bool {
        let (was_crowded, times) = self.crowd.get();
        let is_crowded = self.open.get() > self.limit - self.limit / ROOM;
        let is_new = is_crowded && !was_crowded;
        self.crowd.set((is_crowded, times + u32::from(is_new)));
        is_new
    }

    /// While it is crowded: how often it has been.
    pub(super) fn crowd(&self) -> Option<u32> {
        let (is_crowded, times) = self.crowd.get();
        is_crowded.then_some(times)
    }
}

/// An IPv6 client has its whole /64.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// A connection that was taken.
pub(super) struct Guest {
    admission: Rc<Admission>,
    /// The one that it counts for, if it is known.
    client: Option<IpAddr>,
}

impl Guest {
    /// It is known by now whose it is.
    pub(super) fn is_of(&mut self, peer: IpAddr) -> Result<(), Limit> {
        self.client = Some(self.admission.count(peer)?);
        Ok(())
    }

    /// One more of the same client: a stream of its connection that takes as much as a connection would.
    pub(super) fn one_more(&self) -> Result<Self, Limit> {
        self.admission.admit(self.client)
    }

    /// Begins a TLS handshake, until that is dropped. One client cannot have all places: it may keep each for as long as a
    /// handshake may take.
    pub(super) fn shake_hands(&self) -> Result<Handshake, Limit> {
        let Admission { shaking, by_client, .. } = &*self.admission;
        if shaking.get() >= self.admission.handshakes {
            return Err(Limit::Handshakes);
        }
        if let Some(client) = self.client
            && let Some(own) = by_client.borrow_mut().get_mut(&client)
        {
            if own.shaking >= self.admission.handshakes_per_client {
                return Err(Limit::HandshakesPerClient);
            }
            own.shaking += 1;
        }
        shaking.set(shaking.get() + 1);
        Ok(Handshake { admission: self.admission.clone(), client: self.client })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Admission { open, by_client, .. } = &*self.admission;
        open.set(open.get() - 1);
        let mut by_client = by_client.borrow_mut();
        if let Some(client) = self.client
            && let Some(own) = by_client.get_mut(&client)
        {
            own.open -= 1;
            if own.open == 0 {
                by_client.remove(&client);
            }
        }
    }
}

/// A TLS handshake under way.
pub(super) struct Handshake {
    admission: Rc<Admission>,
    client: Option<IpAddr>,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let Admission { shaking, by_client, .. } = &*self.admission;
        shaking.set(shaking.get() - 1);
        if let Some(client) = self.client
            && let Some(own) = by_client.borrow_mut().get_mut(&client)
        {
            own.shaking -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l7::limits::Setting;

    fn admission(settings: &[&str], workers: usize) -> Rc<Admission> {
        let settings = settings.iter().map(|text| text.parse::<Setting>().expect("a setting"));
        Admission::new(&settings.collect(), workers)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_client_has_its_share_and_gets_it_back() {
        let admission = admission(&["connections=10", "connections-per-client=4"], 2);
        let admit = |text| admission.admit(Some(address(text)));
        let first = [admit("192.0.2.1"), admit("192.0.2.1")];
        assert_eq!(admit("192.0.2.1").err(), Some(Limit::ConnectionsPerClient));
        let second = [admit("2001:db8::1"), admit("2001:db8::2:3")];
        assert_eq!(admit("2001:db8::4").err(), Some(Limit::ConnectionsPerClient));
        let other = admit("2001:db8:0:1::1");
        assert_eq!(admit("192.0.2.2").err(), Some(Limit::Connections));
        assert!(other.is_ok() && first.iter().chain(&second).all(Result::is_ok));
        drop((first, second, other));
        assert!(admit("192.0.2.1").is_ok() && admission.by_client.borrow().is_empty());
        assert_eq!(admission.open.get(), 0);
    }

    #[test]
    fn a_proxy_in_front_is_no_client_and_those_behind_it_are() {
        let admission = admission(&["connections=4", "connections-per-client=1"], 1);
        let mut guests: Vec<_> = (0..3).filter_map(|_| admission.admit(None).ok()).collect();
        let [first, second, third] = &mut guests[..] else { panic!("three are taken") };
        assert_eq!(first.is_of(address("192.0.2.1")), Ok(()));
        assert_eq!(second.is_of(address("192.0.2.1")), Err(Limit::ConnectionsPerClient));
        assert_eq!(third.is_of(address("192.0.2.2")), Ok(()));
        let _fourth = admission.admit(None);
        assert_eq!(admission.admit(None).err(), Some(Limit::Connections));
        drop(guests);
        assert!(admission.by_client.borrow().is_empty() && admission.open.get() == 1);
    }

    #[test]
    fn handshakes_at_one_time_are_limited_and_so_are_those_of_one_client() {
        let admission = admission(&["handshakes=3", "handshakes-per-client=2"], 1);
        let mut guests = [Some("192.0.2.1"), Some("192.0.2.1"), Some("192.0.2.1"), Some("192.0.2.2"), None]
            .map(|client| admission.admit(client.map(address)).ok());
        let [first, second, third, other, proxy] =
            guests.each_mut().map(|guest| guest.take().expect("taken"));
        let one = first.shake_hands();
        let two = second.shake_hands();
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(third.shake_hands().err(), Some(Limit::HandshakesPerClient));
        let others = other.shake_hands();
        assert!(others.is_ok());
        assert_eq!(proxy.shake_hands().err(), Some(Limit::Handshakes));
        drop(one);
        assert!(proxy.shake_hands().is_ok(), "of whom it is not known whose it is counts for all");
        assert!(third.shake_hands().is_ok());
        drop((first, second, third, other, two, others));
        assert!(admission.by_client.borrow().is_empty() && admission.shaking.get() == 0);
    }
}
