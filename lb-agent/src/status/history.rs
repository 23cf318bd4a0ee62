//! The object that holds the history: read by name, written by update with its resourceVersion, never by apply.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::{info, warn};

use super::error::{Remedy, StatusError, ask, write};
use crate::api::{EdgeMembership, EdgeMembershipSpec, EdgeMembershipStatus};
use crate::metrics::{StatusMetrics, Written};
use crate::model::{Kind, ObjectRef, Problem};

/// Somebody may have edited or deleted it: it is read anew every so often.
const REREAD: Duration = Duration::from_secs(5);

/// What somebody made of it is told for as long after it was mended: Events take a moment.
const TOLD: Duration = Duration::from_secs(60);

/// The history as the API server holds it, as far as this process knows.
pub(super) struct History {
    api: Api<EdgeMembership>,
    patience: Duration,
    metrics: StatusMetrics,
    held: EdgeMembership,
    read_at: Option<Instant>,
    refused: Option<Refused>,
    /// Whether the server kept the keys of the generations that were written: a CRD of before there were any does not.
    keeps_keys: bool,
}

/// What somebody wrote that makes no sense.
struct Refused {
    at: Instant,
    uid: String,
    problem: Problem,
    /// Whether it is in the object's place still.
    is_there: bool,
}

impl History {
    pub(super) fn new(client: Client, patience: Duration, metrics: StatusMetrics) -> Self {
        Self {
            api: Api::all(client),
            patience,
            metrics,
            held: EdgeMembership::default(),
            read_at: None,
            refused: None,
            keeps_keys: true,
        }
    }

    /// What it holds.
    pub(super) fn spec(&self) -> &EdgeMembershipSpec {
        &self.held.spec
    }

    /// Whether the server keeps what generations say of their keys.
    pub(super) fn keeps_keys(&self) -> bool {
        self.keeps_keys
    }

    /// Reads it, if that was not done lately. One that was deleted is taken for what it held before.
    pub(super) async fn refresh(&mut self) -> Result<(), StatusError> {
        if self.read_at.is_some_and(|at| at.elapsed() < REREAD) {
            return Ok(());
        }
        let asked = Instant::now();
        match ask(self.patience, self.api.get_opt(EdgeMembership::NAME)).await? {
            Some(found) => self.take(found),
            None => self.forget_version(),
        }
        self.read_at = Some(asked);
        Ok(())
    }

    /// Takes what was found; of what makes no sense only the version, so that it can be replaced. Without a better one,
    /// whoever decides on the history sees what there is, for its ids.
    fn take(&mut self, found: EdgeMembership) {
        let is_known = !self.held.spec.generations.is_empty() && self.held.spec.check().is_ok();
        let checked = found.spec.check().and_then(|()| match is_known {
            true => found.spec.check_after(&self.held.spec),
            false => Ok(()),
        });
        let Err(nonsense) = checked else {
            self.refused.iter_mut().for_each(|refused| refused.is_there = false);
            self.held = found;
            return;
        };
        let name = ObjectRef::new(Kind::EdgeMembership, "", EdgeMembership::NAME);
        let message = format!("{}; the last good history is written again", nonsense.message);
        let problem = Problem::error(&name, nonsense.field, message);
        warn!(%problem, "membership");
        let uid = found.metadata.uid.clone().unwrap_or_default();
        self.refused = Some(Refused { at: Instant::now(), uid, problem, is_there: true });
        if is_known {
            self.held.metadata = found.metadata;
        } else {
            self.held = found;
        }
    }

    /// What somebody wrote that makes no sense, and the object's uid.
    pub(super) fn nonsense(&self) -> Option<(&Problem, &str)> {
        let refused =
            self.refused.as_ref().filter(|refused| refused.is_there || refused.at.elapsed() < TOLD)?;
        Some((&refused.problem, &refused.uid))
    }

    /// Writes it, if it is not so already.
    pub(super) async fn write(
        &mut self,
        spec: Option<EdgeMembershipSpec>,
        status: EdgeMembershipStatus,
    ) -> Result<(), StatusError> {
        let is_refused = self.refused.as_ref().is_some_and(|refused| refused.is_there);
        let is_unwritten =
            self.held.metadata.resource_version.is_none() && !self.held.spec.generations.is_empty();
        let is_lost = is_unwritten || is_refused;
        if spec.is_none()
            && !is_lost
            && self.held.status.as_ref().unwrap_or(&EdgeMembershipStatus::default()) == &status
        {
            return Ok(());
        }
        let mut wanted = EdgeMembership { status: Some(status), ..self.held.clone() };
        if let Some(spec) = spec {
            wanted.spec = dated(spec);
        }
        let params = PostParams::default();
        let version = wanted.metadata.resource_version.clone();
        let written = if version.is_some() {
            let request = self.api.replace(EdgeMembership::NAME, &params, &wanted);
            write(Written::Membership, &self.metrics, self.patience, request).await
        } else {
            let name = Some(EdgeMembership::NAME.to_owned());
            wanted.metadata = ObjectMeta { name, ..ObjectMeta::default() };
            let request = self.api.create(&params, &wanted);
            write(Written::Membership, &self.metrics, self.patience, request).await
        };
        match written {
            Ok(written) => {
                self.tell(&written);
                self.compare_keys(&wanted, &written);
                self.held = written;
                self.refused.iter_mut().for_each(|refused| refused.is_there = false);
                Ok(())
            }
            Err(error) => {
                // Whether it was written or not: what is held is no longer known.
                self.read_at = None;
                if error.remedy() == Remedy::Missing {
                    self.forget_version();
                }
                Err(error)
            }
        }
    }

    fn compare_keys(&mut self, wanted: &EdgeMembership, written: &EdgeMembership) {
        let keys = |history: &EdgeMembership| {
            let generations = history.spec.generations.iter();
            generations.filter(|generation| generation.flow_key.is_some()).count()
        };
        if keys(wanted) == 0 {
            return;
        }
        let keeps = keys(wanted) == keys(written);
        if self.keeps_keys && !keeps {
            warn!(
                "the CRD edgememberships.edgelb.dev is that of an earlier version: until it is updated, another flow key \
                 waits"
            );
        }
        self.keeps_keys = keeps;
    }

    fn forget_version(&mut self) {
        self.held.metadata = ObjectMeta::default();
    }

    fn tell(&self, written: &EdgeMembership) {
        let Some(newest) = written.spec.generations.last() else { return };
        let before = self.held.spec.generations.last();
        if before.is_none_or(|before| (before.number, before.step) != (newest.number, newest.step)) {
            let members: Vec<_> = newest.members.iter().map(|member| member.name.as_str()).collect();
            let key = newest.flow_key.map(|key| key.to_string()).unwrap_or_default();
            let (generation, members) = (newest.number, members.join(","));
            info!(generation, step = ?newest.step, members, key, "membership");
        }
    }
}

/// With the time, for people, at the generations that are new.
fn dated(mut spec: EdgeMembershipSpec) -> EdgeMembershipSpec {
    for generation in &mut spec.generations {
        generation.since.get_or_insert_with(|| Time(Timestamp::now()));
    }
    spec
}
