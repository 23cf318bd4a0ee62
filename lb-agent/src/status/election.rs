//! Who leads: the holder of one Lease.
//!
//! Clocks are not compared: a Lease is over when this process has not seen it change for as long as it lasts. The
//! leader counts from before it asked for a renewal, and for two thirds of that time, so that it has stopped before
//! anyone else begins. Two processes that ask at the same time are told apart by the server (`resourceVersion`).

use std::convert::Infallible;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::error::{Remedy, StatusError, ask, write};
use super::lease::{duration, seconds};
use super::names;
use super::pace::jittered;
use crate::metrics::{StatusMetrics, Written};

/// How long leading lasts, and how often it is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Others wait for as long without a renewal.
    pub(super) period: Duration,
    /// A renewal, or a look at the holder, every so often.
    pub(super) retry: Duration,
    /// A request may take as long.
    pub(super) patience: Duration,
}

/// A candidate for the leader's Lease.
pub(super) struct Election {
    leases: Api<Lease>,
    terms: Terms,
    ballot: Ballot,
    /// The Lease as this process wrote it last: it need not be read before the next renewal.
    held: Option<Lease>,
    /// This process wrote itself into the Lease, and does not know yet whether it is in it.
    is_asking: bool,
    /// Until when this process leads, unless it renews.
    until: watch::Sender<Option<Instant>>,
    metrics: StatusMetrics,
}

impl Election {
    /// `until` tells until when this process leads, `None` while it does not.
    pub(super) fn new(
        leases: Api<Lease>,
        identity: String,
        terms: Terms,
        until: watch::Sender<Option<Instant>>,
        metrics: StatusMetrics,
    ) -> Self {
        let ballot = Ballot { identity, period: terms.period, seen: None };
        Self { leases, terms, ballot, held: None, is_asking: false, until, metrics }
    }

    /// Runs for the office, and holds it, for as long as it is polled.
    pub(super) async fn run(&mut self) -> Infallible {
        let mut is_told = false;
        loop {
            match self.attempt().await {
                Ok(()) => is_told = false,
                Err(error) if error.remedy() == Remedy::LookAgain => self.held = None,
                Err(error) if is_told => debug!(%error, "no word of the leader's Lease"),
                Err(error) => {
                    is_told = true;
                    warn!(%error, lease = names::LEADER, "no word of the leader's Lease: it is tried again");
                }
            }
            self.expire();
            sleep(self.pause()).await;
            self.expire();
        }
    }

    /// Gives the office up, so that the next one need not wait.
    pub(super) async fn release(&mut self) {
        let leads = self.until.send_replace(None).is_some();
        if leads {
            self.tell(false);
        }
        // Who was stopped before the server's word came may be in the Lease all the same.
        if !leads && !self.is_asking {
            return;
        }
        let released = match self.write_release().await {
            Err(error) if error.remedy() == Remedy::LookAgain => self.write_release().await,
            released => released,
        };
        match released {
            Ok(true) => info!("the leader's Lease is released"),
            Ok(false) => {}
            Err(error) => warn!(%error, "the leader's Lease cannot be released: it will run out"),
        }
    }

    /// Whether it was this process's.
    async fn write_release(&mut self) -> Result<bool, StatusError> {
        let found = match self.held.take() {
            Some(held) => Some(held),
            // A renewal was on its way when it was broken off.
            None => ask(self.patience(), self.leases.get_opt(names::LEADER)).await?,
        };
        let Some(mut lease) = found else { return Ok(false) };
        let is_ours = |spec: &&mut LeaseSpec| spec.holder_identity.as_ref() == Some(&self.ballot.identity);
        let Some(spec) = lease.spec.as_mut().filter(is_ours) else { return Ok(false) };
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.replace(&lease).await?;
        Ok(true)
    }

    async fn attempt(&mut self) -> Result<(), StatusError> {
        let asked = Instant::now();
        let found = match self.held.take() {
            Some(held) => Some(held),
            None => ask(self.patience(), self.leases.get_opt(names::LEADER)).await?,
        };
        match self.ballot.judge(found.as_ref(), Instant::now()) {
            Move::Wait => {
                self.is_asking = false;
                self.lead_until(None);
                Ok(())
            }
            Move::Take => {
                let lease = self.ballot.hold(found);
                self.is_asking = true;
                let written = match lease.metadata.resource_version {
                    Some(_) => self.replace(&lease).await?,
                    None => self.create(&lease).await?,
                };
                self.held = Some(written);
                self.is_asking = false;
                self.lead_until(Some(asked + self.terms.period * 2 / 3));
                Ok(())
            }
        }
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, StatusError> {
        let params = PostParams::default();
        let request = self.leases.replace(names::LEADER, &params, lease);
        write(Written::Lease, &self.metrics, self.patience(), request).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, StatusError> {
        let params = PostParams::default();
        let request = self.leases.create(&params, lease);
        write(Written::Lease, &self.metrics, self.patience(), request).await
    }

    /// No longer than it still leads.
    fn patience(&self) -> Duration {
        self.left().map_or(self.terms.patience, |left| left.min(self.terms.patience))
    }

    fn pause(&self) -> Duration {
        let retry = jittered(self.terms.retry);
        self.left().map_or(retry, |left| left.min(retry))
    }

    fn left(&self) -> Option<Duration> {
        self.until.borrow().map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn expire(&mut self) {
        if self.left() == Some(Duration::ZERO) {
            warn!("the leader's Lease could not be renewed in time: another may lead");
            self.lead_until(None);
        }
    }

    fn lead_until(&self, until: Option<Instant>) {
        let before = self.until.send_replace(until);
        if before.is_some() != until.is_some() {
            self.tell(until.is_some());
        }
    }

    fn tell(&self, leads: bool) {
        self.metrics.leader.set(leads.into());
        info!(identity = self.ballot.identity, leads, "leader election");
    }
}

/// What to do with the Lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// Write this process into it: it is nobody's, over, or this process's own.
    Take,
    /// Another holds it.
    Wait,
}

/// What this process has seen of the Lease. Pure.
#[derive(Clone, Debug)]
struct Ballot {
    identity: String,
    period: Duration,
    seen: Option<Seen>,
}

#[derive(Clone, PartialEq, Debug)]
struct Seen {
    spec: LeaseSpec,
    at: Instant,
}

impl Ballot {
    fn judge(&mut self, lease: Option<&Lease>, now: Instant) -> Move {
        let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else { return Move::Take };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return Move::Take;
        }
        let seen = match self.seen.take().filter(|seen| seen.spec == *spec) {
            Some(seen) => seen,
            None => Seen { spec: spec.clone(), at: now },
        };
        let is_over = now >= seen.at + duration(spec).unwrap_or(self.period);
        self.seen = Some(seen);
        if is_over { Move::Take } else { Move::Wait }
    }

    /// The Lease with this process as its holder, renewed.
    fn hold(&self, lease: Option<Lease>) -> Lease {
        let named = || ObjectMeta { name: Some(names::LEADER.to_owned()), ..ObjectMeta::default() };
        let mut lease = lease.unwrap_or_else(|| Lease { metadata: named(), spec: None });
        let spec = lease.spec.get_or_insert_default();
        let now = Some(MicroTime(Timestamp::now()));
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.acquire_time.clone_from(&now);
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |before| before.saturating_add(1)));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(seconds(self.period));
        spec.renew_time = now;
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(15);

    fn ballot(identity: &str) -> Ballot {
        Ballot { identity: identity.to_owned(), period: PERIOD, seen: None }
    }

    #[test]
    fn what_is_nobodys_is_taken() {
        let now = Instant::now();
        let mut me = ballot("me");
        assert_eq!(me.judge(None, now), Move::Take);
        let mut lease = me.hold(None);
        assert_eq!(me.judge(Some(&lease), now), Move::Take, "it is mine");
        lease.spec.as_mut().expect("it has one").holder_identity = Some(String::new());
        assert_eq!(ballot("you").judge(Some(&lease), now), Move::Take, "it was released");
    }

    #[test]
    fn it_is_over_when_it_was_not_seen_to_change() {
        let now = Instant::now();
        let (me, mut you) = (ballot("me"), ballot("you"));
        let mut lease = me.hold(None);
        let at = |second| now + Duration::from_secs(second);
        assert_eq!(you.judge(Some(&lease), at(0)), Move::Wait);
        assert_eq!(you.judge(Some(&lease), at(14)), Move::Wait);
        // A clock that is years behind renews all the same.
        lease.spec.as_mut().expect("it has one").renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
        assert_eq!(you.judge(Some(&lease), at(15)), Move::Wait);
        assert_eq!(you.judge(Some(&lease), at(29)), Move::Wait);
        assert_eq!(you.judge(Some(&lease), at(30)), Move::Take);
    }

    #[test]
    fn a_change_of_holders_is_counted() {
        let (me, you) = (ballot("me"), ballot("you"));
        let transitions = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let mine = me.hold(Some(me.hold(None)));
        assert_eq!(transitions(&mine), Some(0));
        assert_eq!(transitions(&you.hold(Some(mine))), Some(1));
    }
}
