//! Session tickets: sealed by keys that all nodes derive from one secret and the time of day, so that a client resumes
//! at whichever node it comes to, and nothing has to be told or stored.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use super::set::SetId;
use super::ticket_keys::{Keys, Secret, Secrets};
use super::time;

/// How long one key seals, in seconds. A ticket is taken for that long at least, and for twice as long at most.
pub(super) const PERIOD: u32 = 6 * 60 * 60;

/// What seals and opens tickets. A clone goes by the same secret.
#[derive(Clone)]
pub struct Tickets(Arc<Shared>);

struct Shared {
    secrets: Mutex<Secrets>,
    /// Those of the period in which a ticket was asked for last.
    keys: ArcSwap<Keys>,
}

impl Tickets {
    /// Goes by a secret of its own until it is given one.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        let secrets = Secrets::new(Secret::new(&bytes));
        let keys = ArcSwap::from_pointee(secrets.keys(period()));
        Ok(Self(Arc::new(Shared { secrets: Mutex::new(secrets), keys })))
    }

    /// Seals by this secret from now on; what the one before has sealed is still taken for its time.
    pub fn give(&self, secret: &[u8]) {
        self.give_in(period(), secret);
    }

    /// For configurations of one certificate set: no other one takes its tickets.
    pub(super) fn bound_to(&self, set: SetId) -> Arc<dyn ProducesTickets> {
        Arc::new(Bound { tickets: self.clone(), set })
    }

    fn give_in(&self, period: u64, secret: &[u8]) {
        let mut secrets = self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if secrets.give(Secret::new(secret), period) {
            self.0.keys.store(Arc::new(secrets.keys(period)));
        }
    }

    /// The keys of a period: made when its first ticket is asked for.
    fn keys(&self, period: u64) -> Guard<Arc<Keys>> {
        let keys = self.0.keys.load();
        if keys.period == period {
            return keys;
        }
        let mut secrets = self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.forget_before(period);
        self.0.keys.store(Arc::new(secrets.keys(period)));
        self.0.keys.load()
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

#[derive(Debug)]
struct Bound {
    tickets: Tickets,
    set: SetId,
}

impl Bound {
    fn seal(&self, period: u64, session: &[u8]) -> Option<Vec<u8>> {
        self.tickets.keys(period).seal(&self.set, session)
    }

    fn open(&self, period: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.keys(period).open(&self.set, ticket)
    }
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(period(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(period(), cipher)
    }
}

/// The period of now: the same on all nodes, as well as their clocks agree.
fn period() -> u64 {
    time::now().unsigned_abs() / u64::from(PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 80_000;

    fn bound(secret: &[u8], set: u8) -> Bound {
        let tickets = Tickets::random().expect("random numbers");
        tickets.give_in(NOW, secret);
        Bound { tickets, set: [set; 32] }
    }

    #[test]
    fn another_node_takes_them_in_this_period_and_beside_it() {
        let [one, other] = [bound(b"of the cluster", 1), bound(b"of the cluster", 1)];
        let ticket = one.seal(NOW, b"session").expect("a ticket");
        for (period, is_taken) in
            [(NOW - 2, false), (NOW - 1, true), (NOW, true), (NOW + 1, true), (NOW + 2, false), (NOW, true)]
        {
            let opened = other.open(period, &ticket);
            assert_eq!(opened.as_deref() == Some(b"session"), is_taken, "{}", period as i64 - NOW as i64);
        }
    }

    #[test]
    fn who_has_another_secret_or_other_certificates_does_not() {
        let one = bound(b"of the cluster", 1);
        let ticket = one.seal(NOW, b"session").expect("a ticket");
        assert_ne!(Some(&ticket), one.seal(NOW, b"session").as_ref(), "nonces are random");
        for other in [bound(b"of another", 1), bound(b"of the cluster", 2)] {
            assert_eq!(other.open(NOW, &ticket), None);
        }
        for cut in 0..ticket.len() {
            assert_eq!(one.open(NOW, &ticket[..cut]), None);
            let mut damaged = ticket.clone();
            damaged[cut] ^= 1;
            assert_eq!(one.open(NOW, &damaged), None);
        }
    }

    #[test]
    fn a_secret_that_was_replaced_counts_as_long_as_its_tickets() {
        let [one, other] = [bound(b"the first", 1), bound(b"the second", 1)];
        let ticket = one.seal(NOW, b"session").expect("a ticket");
        one.tickets.give_in(NOW, b"the second");
        one.tickets.give_in(NOW, b"the second");
        assert!(one.open(NOW, &ticket).is_some(), "the first one still opens");
        assert!(other.open(NOW, &ticket).is_none());
        let next = one.seal(NOW, b"session").expect("a ticket");
        assert!(other.open(NOW, &next).is_some(), "the second one seals");
        assert!(one.open(NOW + 1, &ticket).is_some());
        assert!(
            one.open(NOW + 2, &ticket).is_none() && one.open(NOW + 1, &ticket).is_none(),
            "it is forgotten"
        );
    }
}
