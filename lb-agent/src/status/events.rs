//! Events for problems: each is told once, and said again at most once an hour while it lasts.
//!
//! An Event's name follows from its object, reason and message. So a restart and a new leader find that it is told
//! already, without anyone having to remember; the API server forgets Events by itself, after an hour by default.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::error::{Remedy, StatusError, write};
use super::pace::{Bucket, backoff};
use super::reason::Reason;
use super::{Told, names};
use crate::api;
use crate::metrics::{StatusMetrics, Written};
use crate::model::{Kind, ObjectRef, Problem, Report};

/// What lasts is said again after this.
const AGAIN: Duration = Duration::from_secs(3600);

/// The API server takes no longer notes.
const MOST_OF_NOTE: usize = 1024;

/// Nor longer names of whoever reports.
const MOST_OF_INSTANCE: usize = 128;

/// Room for the hash in an Event's name.
const MOST_OF_NAME: usize = 230;

/// Events of objects without a namespace go here, as those of the kubelet do.
const DEFAULT: &str = "default";

/// Tells of problems while this process leads.
pub(super) struct Events {
    pub(super) client: Client,
    pub(super) node: String,
    pub(super) reports: watch::Receiver<Option<Arc<Report>>>,
    /// Problems that the leader sees by itself.
    pub(super) told: watch::Receiver<Told>,
    pub(super) patience: Duration,
    pub(super) bucket: Bucket,
    pub(super) metrics: StatusMetrics,
}

/// A problem that was told: when last, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    at: Instant,
    count: i32,
}

/// What was told by this process, by the Event's name.
type Memory = BTreeMap<String, Said>;

impl Events {
    /// Does it, for as long as it is polled.
    pub(super) async fn run(mut self) -> Infallible {
        let mut memory = Memory::new();
        // Those that could not be told, and when that was tried last: others go first.
        let mut tried: BTreeMap<String, Instant> = BTreeMap::new();
        let mut failures = 0;
        loop {
            let events = self.events();
            let mut due: Vec<_> =
                events.iter().filter(|event| is_due(&memory, event, Instant::now())).collect();
            let was_idle = due.is_empty();
            due.sort_by_key(|event| tried.get(name_of(event)));
            for event in due {
                self.pace().await;
                match self.say(event, &mut memory).await {
                    Ok(()) => {
                        failures = 0;
                        tried.remove(name_of(event));
                    }
                    Err(error) => {
                        failures += 1;
                        let names: BTreeSet<_> = events.iter().map(name_of).collect();
                        tried.retain(|name, _| names.contains(name.as_str()));
                        tried.insert(name_of(event).to_owned(), Instant::now());
                        debug!(%error, "Events are told later");
                        sleep(backoff(failures)).await;
                        break;
                    }
                }
                // What is wrong may have changed while many were told.
                if self.has_news() {
                    break;
                }
            }
            if was_idle {
                memory.retain(|_, said| said.at.elapsed() < AGAIN);
                self.news().await;
            }
        }
    }

    fn has_news(&self) -> bool {
        self.reports.has_changed().unwrap_or(false) || self.told.has_changed().unwrap_or(false)
    }

    async fn news(&mut self) {
        tokio::select! {
            Ok(()) = self.reports.changed() => {}
            Ok(()) = self.told.changed() => {}
            () = sleep(AGAIN / 12) => {}
        }
    }

    async fn pace(&mut self) {
        while let Err(wait) = self.bucket.take(Instant::now()) {
            sleep(wait).await;
        }
    }

    /// An Event for each problem of an object that is known by its uid: `kubectl describe` finds it by that.
    fn events(&mut self) -> Vec<Event> {
        let report = self.reports.borrow_and_update().clone();
        let told = self.told.borrow_and_update().clone();
        let empty = Report::default();
        let report = report.as_deref().unwrap_or(&empty);
        let of_source = report.problems.iter().filter_map(|problem| event(problem, &report.uids, &self.node));
        let of_leader = told.problems.iter().filter_map(|problem| event(problem, &told.uids, &self.node));
        of_source.chain(of_leader).collect()
    }

    /// Creates the Event, or counts on.
    async fn say(&self, event: &Event, memory: &mut Memory) -> Result<(), StatusError> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or(DEFAULT);
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let name = name_of(event).to_owned();
        let before = memory.get(&name).map(|said| said.count);
        let params = PostParams::default();
        let created = self.write(api.create(&params, event)).await;
        let count = match (created, before) {
            (Ok(_), _) => 1,
            // Told before this process began, and not an hour ago: else it would not be there any more.
            (Err(error), None) if error.remedy() == Remedy::LookAgain => 1,
            (Err(error), Some(before)) if error.remedy() == Remedy::LookAgain => {
                let count = before.saturating_add(1);
                let series =
                    json!({ "series": { "count": count, "lastObservedTime": MicroTime(Timestamp::now()) } });
                let params = PatchParams::default();
                let counted = self.write(api.patch(&name, &params, &Patch::Merge(series))).await;
                if let Err(error) = counted {
                    give_up(event, error)?;
                }
                count
            }
            (Err(error), before) => {
                give_up(event, error)?;
                before.unwrap_or(1)
            }
        };
        memory.insert(name, Said { at: Instant::now(), count });
        Ok(())
    }

    async fn write<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, StatusError> {
        write(Written::Event, &self.metrics, self.patience, request).await
    }
}

/// Passes on what helps later; the rest is said to whoever reads logs.
fn give_up(event: &Event, error: StatusError) -> Result<(), StatusError> {
    match error.remedy() {
        Remedy::Later(_) => return Err(error),
        // The namespace is on its way out.
        Remedy::Missing => {}
        Remedy::LookAgain | Remedy::Hopeless => {
            warn!(%error, note = event.note, "an Event is not told");
        }
    }
    Ok(())
}

fn name_of(event: &Event) -> &str {
    event.metadata.name.as_deref().unwrap_or_default()
}

fn is_due(memory: &Memory, event: &Event, now: Instant) -> bool {
    let said = memory.get(name_of(event));
    said.is_none_or(|said| now >= said.at + AGAIN)
}

/// The Event of a problem; `None` if nobody could find it.
fn event(problem: &Problem, uids: &BTreeMap<ObjectRef, String>, node: &str) -> Option<Event> {
    let object = problem.object.as_ref()?;
    let uid = uids.get(object).filter(|uid| !uid.is_empty())?;
    let reason = Reason::of(problem).as_str();
    let note = match problem.field.as_str() {
        "" => problem.message.clone(),
        field => format!("{field}: {}", problem.message),
    };
    let name = names::shortened(&object.name, &object.name, MOST_OF_NAME);
    let namespace = if object.namespace.is_empty() { DEFAULT } else { &object.namespace };
    Some(Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{}", names::hash(&[uid, reason, &note]))),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some("Warning".to_owned()),
        reason: Some(reason.to_owned()),
        action: Some("Translate".to_owned()),
        note: Some(cut(note)),
        regarding: Some(ObjectReference {
            api_version: Some(api_version(object.kind).to_owned()),
            kind: Some(object.kind.as_str().to_owned()),
            name: Some(object.name.clone()),
            namespace: (!object.namespace.is_empty()).then(|| object.namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(api::MANAGER.to_owned()),
        reporting_instance: Some(names::shortened(node, node, MOST_OF_INSTANCE)),
        ..Event::default()
    })
}

fn cut(mut note: String) -> String {
    if note.len() > MOST_OF_NOTE {
        note.truncate(note.floor_char_boundary(MOST_OF_NOTE - 3));
        note.push_str("...");
    }
    note
}

const fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress | Kind::IngressClass => "networking.k8s.io/v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::IngressParameters | Kind::EdgeMembership => api::API_VERSION,
        _ => "v1",
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use prometheus_client::registry::Registry;

    use super::*;

    fn problem(message: &str) -> Problem {
        Problem::error(&ObjectRef::new(Kind::Ingress, "shop", "web"), "spec.rules[0].host", message)
    }

    fn uids(uid: &str) -> BTreeMap<ObjectRef, String> {
        BTreeMap::from([(ObjectRef::new(Kind::Ingress, "shop", "web"), uid.to_owned())])
    }

    fn name(message: &str, uid: &str) -> Option<String> {
        event(&problem(message), &uids(uid), "edge-1")?.metadata.name
    }

    #[test]
    fn names_follow_from_object_and_problem() {
        assert_eq!(name("no", "1"), name("no", "1"));
        assert_ne!(name("no", "1"), name("no", "2"), "another object of the name");
        assert_ne!(name("no", "1"), name("never", "1"));
        assert_eq!(name("no", ""), None);
    }

    #[test]
    fn notes_fit_and_name_the_field() {
        let event = event(&problem(&"ü".repeat(2000)), &uids("1"), "edge-1").expect("it has a uid");
        let note = event.note.expect("it has a note");
        assert!(note.starts_with("spec.rules[0].host: ü") && note.ends_with("ü..."), "{note}");
        assert!(note.len() <= MOST_OF_NOTE);
    }

    #[test]
    fn once_an_hour_is_enough() {
        let event = event(&problem("no"), &uids("1"), "edge-1").expect("it has a uid");
        let now = Instant::now();
        let memory =
            Memory::from([(event.metadata.name.clone().unwrap_or_default(), Said { at: now, count: 1 })]);
        assert!(is_due(&Memory::new(), &event, now));
        assert!(!is_due(&memory, &event, now + Duration::from_secs(3599)));
        assert!(is_due(&memory, &event, now + Duration::from_secs(3600)));
    }

    /// A webhook that does not answer for one namespace, say, is a server error for all that is made there.
    #[tokio::test]
    async fn one_that_cannot_be_told_holds_up_no_other() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let answer = move |request: Request<Body>| {
            let is_bad = request.uri().path().contains("/namespaces/bad/");
            if !is_bad {
                _ = tell.send(());
            }
            let status = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}"#;
            let body = if is_bad { &status[..] } else { br#"{"metadata":{}}"# };
            let code = if is_bad { 500 } else { 201 };
            std::future::ready(Response::builder().status(code).body(Body::from(body.to_vec())))
        };
        let object = |namespace| ObjectRef::new(Kind::Ingress, namespace, "web");
        let report = Report {
            problems: [object("bad"), object("good")].map(|at| Problem::error(&at, "spec", "no")).into(),
            uids: BTreeMap::from([(object("bad"), "1".to_owned()), (object("good"), "2".to_owned())]),
            ..Report::default()
        };
        let events = Events {
            client: Client::new(tower::service_fn(answer), "default"),
            node: "edge-1".to_owned(),
            reports: watch::Sender::new(Some(Arc::new(report))).subscribe(),
            told: watch::Sender::new(Told::default()).subscribe(),
            patience: Duration::from_secs(5),
            bucket: Bucket::new(100, 100, Instant::now()),
            metrics: StatusMetrics::new(&mut Registry::default()),
        };
        tokio::select! {
            never = events.run() => match never {},
            heard = tokio::time::timeout(Duration::from_secs(10), told.recv()) => assert_eq!(heard, Ok(Some(()))),
        }
    }
}
