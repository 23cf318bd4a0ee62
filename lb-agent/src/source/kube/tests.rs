//! Scripted watches: whatever they tell, in whatever order and however often they begin anew, the state is in the end
//! that of the server's objects, and that of a folder with the same history; and it holds no Secret that nobody needs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use kube::runtime::watcher::Event;
use proptest::prelude::*;

use super::feed::{Feed, Item};
use super::secrets::{MOST_NAMED, SecretProfile};
use super::state::{State, Wish};
use crate::model::{Kind, ListenerProtocol, ObjectRef, Origin, Problem, Problems, Snapshot};
use crate::source::files::{Scripted as Folder, parse_text};
use crate::source::{Index, Object, Settings, translate};

fn objects(text: &str) -> Vec<Object> {
    let (objects, problems) = parse_text(Path::new("test.yaml"), text);
    assert!(problems.is_empty(), "{problems:?}");
    objects.into_iter().map(|(object, _)| object).collect()
}

/// Of the objects, the one that names a Secret for a whole class.
const PARAMETERS: usize = 9;

/// One version of one of a few objects that depend on each other.
fn object(which: usize, version: usize) -> Object {
    objects(&manifest(which, version)).remove(0)
}

/// The object as a file.
fn manifest(which: usize, version: usize) -> String {
    let name = which % 3;
    match which {
        0 => {
            let controller = ["edgelb.dev/ingress", "example.org/other"][version % 2];
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: edgelb}}, spec: {{controller: {controller}, parameters: {{apiGroup: edgelb.dev, kind: IngressParameters, name: all}}}}}}"
            )
        }
        PARAMETERS => {
            let certificate = format!("defaultCertificate: {{namespace: default, name: t{}}}", version % 3);
            let spec = if version.is_multiple_of(4) { "" } else { &certificate };
            format!(
                "{{apiVersion: edgelb.dev/v1alpha1, kind: IngressParameters, metadata: {{name: all}}, spec: {{{spec}}}}}"
            )
        }
        1..=3 => {
            let class = ["edgelb", "edgelb", "other"][version % 3];
            let tls = format!(
                "[{{hosts: [a{name}.org], secretName: t{}}}, {{secretName: t{}}}]",
                version % 4,
                version % 2
            );
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: i{name}}}, spec: {{ingressClassName: {class}, tls: {tls}, rules: [{{host: a{name}.org}}]}}}}"
            )
        }
        4..=6 => {
            let data =
                ["{}", "{tls.crt: eA==}", "{tls.key: eA==}", "{tls.crt: eA==, tls.key: eA==}"][version % 4];
            format!(
                "{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: t{name}}}, data: {data}}}"
            )
        }
        _ => format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}}}, spec: {{ports: [{{port: {}}}]}}}}",
            80 + version
        ),
    }
}

/// What a server holds, and what is on its way to us; and a folder with the same objects, a file each.
struct Server {
    folder: Folder,
    objects: BTreeMap<ObjectRef, Object>,
    streams: BTreeMap<Feed, VecDeque<Event<Item>>>,
    asked: VecDeque<(ObjectRef, u64)>,
    answers: Vec<(ObjectRef, u64, Option<Object>)>,
    state: State,
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize),
    Remove(usize),
    /// So many events of a stream arrive.
    Deliver(usize, usize),
    /// A stream ends, with what is on its way, and a new list begins.
    Relist(usize),
    /// A question by name is answered, with the objects as they are.
    Answer(usize),
    /// An answer arrives.
    Receive(usize),
    /// The folder is looked at.
    Look,
}

impl Server {
    fn new(profile: SecretProfile) -> Self {
        let state = State::new(profile, settings());
        let (objects, asked, answers) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        let mut this =
            Self { folder: Folder::new(), objects, streams: BTreeMap::new(), asked, answers, state };
        State::feeds().for_each(|feed| this.list(feed));
        this
    }

    fn has(feed: &Feed, object: &ObjectRef) -> bool {
        match feed {
            Feed::Kind(kind) => object.kind == *kind,
            Feed::Secret(secret) => object == secret,
            Feed::Cluster | Feed::FlowKey => false,
        }
    }

    fn list(&mut self, feed: Feed) {
        let found = self.objects.iter().filter(|(name, _)| Self::has(&feed, name));
        let items = found.map(|(_, object)| Event::InitApply(Item::Object(object.clone())));
        let events = [Event::Init].into_iter().chain(items).chain([Event::InitDone]).collect();
        self.streams.insert(feed, events);
    }

    fn tell(&mut self, name: &ObjectRef, event: &Event<Item>) {
        for (_, stream) in self.streams.iter_mut().filter(|(feed, _)| Self::has(feed, name)) {
            stream.push_back(event.clone());
        }
    }

    fn step(&mut self, step: Step) {
        let nth = |at: usize, of: usize| at.checked_rem(of).unwrap_or(0);
        match step {
            Step::Write(which, version) => {
                let object = object(which, version);
                self.folder.write(which, &manifest(which, version));
                self.objects.insert(object.reference(), object.clone());
                self.tell(&object.reference(), &Event::Apply(Item::Object(object)));
            }
            Step::Remove(which) => {
                let name = object(which, 0).reference();
                self.folder.remove(which);
                if let Some(object) = self.objects.remove(&name) {
                    self.tell(&name, &Event::Delete(Item::Object(object)));
                }
            }
            Step::Deliver(at, count) => {
                let feed = self.streams.keys().nth(nth(at, self.streams.len())).cloned();
                (0..count).for_each(|_| self.deliver(feed.as_ref()));
            }
            Step::Relist(at) => {
                let feed = self.streams.keys().nth(nth(at, self.streams.len())).cloned();
                feed.into_iter().for_each(|feed| self.list(feed));
            }
            Step::Answer(at) => {
                if let Some((name, ticket)) = self.asked.remove(nth(at, self.asked.len())) {
                    let found = self.objects.get(&name).cloned();
                    self.answers.push((name, ticket, found));
                }
            }
            Step::Receive(at) if !self.answers.is_empty() => {
                let (name, ticket, answer) = self.answers.remove(at % self.answers.len());
                self.state.take_read(&name, ticket, Ok(answer));
            }
            Step::Receive(_) => {}
            Step::Look => self.folder.look(),
        }
        self.fulfil();
    }

    fn deliver(&mut self, feed: Option<&Feed>) {
        let Some((feed, stream)) = feed.and_then(|feed| self.streams.get_key_value(feed)) else { return };
        let (feed, mut rest) = (feed.clone(), stream.clone());
        if let Some(event) = rest.pop_front() {
            self.streams.insert(feed.clone(), rest);
            self.state.take(&feed, event);
            self.fulfil();
        }
    }

    fn fulfil(&mut self) {
        for wish in self.state.wishes() {
            match wish {
                Wish::WatchAll => self.list(Feed::Kind(Kind::Secret)),
                Wish::Watch(secret) => self.list(Feed::Secret(secret)),
                Wish::Unwatch(secret) => {
                    self.streams.remove(&Feed::Secret(secret));
                }
                Wish::Read { secret, ticket } => self.asked.push_back((secret, ticket)),
            }
        }
    }

    /// Everything arrives.
    fn rest(&mut self) {
        loop {
            let feeds: Vec<_> = self.streams.iter().filter(|(_, stream)| !stream.is_empty()).collect();
            let feeds: Vec<_> = feeds.into_iter().map(|(feed, _)| feed.clone()).collect();
            feeds.iter().for_each(|feed| self.deliver(Some(feed)));
            let is_done = feeds.is_empty() && self.asked.is_empty() && self.answers.is_empty();
            self.step(Step::Answer(0));
            self.step(Step::Receive(0));
            if is_done {
                return;
            }
        }
    }
}

/// With a listener: without one there are no routes to compare.
fn settings() -> Settings {
    Settings {
        default_certificate: Some(("default".to_owned(), "t3".to_owned())),
        standalone: [(([127, 0, 0, 1], 443).into(), ListenerProtocol::Https)].into(),
        ..Settings::default()
    }
}

/// Without the places where objects were read.
fn unplaced(snapshot: Snapshot) -> Snapshot {
    let mut problems = Problems::default();
    for problem in snapshot.problems.iter() {
        problems.insert(Arc::new(Problem { origin: None, ..Problem::clone(problem) }));
    }
    Snapshot { problems, ..snapshot }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..=PARAMETERS, 0..12_usize).prop_map(|(which, version)| Step::Write(which, version)),
        2 => (0..=PARAMETERS).prop_map(Step::Remove),
        8 => (0..16_usize, 1..6_usize).prop_map(|(at, count)| Step::Deliver(at, count)),
        2 => (0..16_usize).prop_map(Step::Relist),
        3 => (0..4_usize).prop_map(Step::Answer),
        3 => (0..4_usize).prop_map(Step::Receive),
        2 => Just(Step::Look),
    ];
    proptest::collection::vec(step, 0..120)
}

fn check(profile: SecretProfile, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut server = Server::new(profile);
    steps.into_iter().for_each(|step| server.step(step));
    server.rest();
    let mut rebuilt = Index::default();
    for object in server.objects.values() {
        rebuilt.apply(object.clone(), Origin::Api);
    }
    let state = &server.state;
    prop_assert!(state.is_complete() && state.is_settled());
    let snapshot = translate(&state.index, &settings(), 0);
    prop_assert_eq!(&snapshot, &translate(&rebuilt, &settings(), 0));
    server.folder.look();
    let of_folder = translate(server.folder.index(), &settings(), 0);
    prop_assert_eq!(unplaced(of_folder), unplaced(snapshot));
    prop_assert_eq!(state.problems(), vec![]);
    // Of others than Secrets everything is there; of Secrets, what is of use.
    let mut named: BTreeSet<String> = ["t3".to_owned()].into();
    let is_ours = object(0, 0);
    if server.objects.get(&is_ours.reference()) == Some(&is_ours) {
        let parameters = rebuilt.ingress_parameters("all");
        let default = parameters.and_then(|found| found.spec.default_certificate.as_ref());
        named.extend(default.map(|secret| secret.name.clone()));
        for (_, ingress) in rebuilt.ingresses() {
            let spec = ingress.spec.as_ref().expect("each has a spec");
            if spec.ingress_class_name.as_deref() == Some("edgelb") {
                named.extend(spec.tls.iter().flatten().filter_map(|tls| tls.secret_name.clone()));
            }
        }
    }
    let expected =
        server.objects.keys().filter(|name| name.kind != Kind::Secret || named.contains(&name.name));
    let held: Vec<_> = state.index.objects().map(Object::reference).collect();
    prop_assert_eq!(held, expected.cloned().collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_history_leads_where_its_end_leads(steps in steps()) {
        check(SecretProfile::Cluster, steps)?;
    }

    #[test]
    fn so_it_does_with_secrets_by_name(steps in steps()) {
        check(SecretProfile::Named, steps)?;
    }
}

fn take_all(state: &mut State, objects: Vec<Object>) {
    for feed in State::feeds() {
        state.take(&feed, Event::Init);
        for object in objects.iter().filter(|object| Feed::Kind(object.kind()) == feed) {
            state.take(&feed, Event::InitApply(Item::Object(object.clone())));
        }
        state.take(&feed, Event::InitDone);
    }
}

#[test]
fn nothing_is_complete_before_everything_was_listed() {
    let mut state = State::new(SecretProfile::Cluster, Settings::default());
    let feeds: Vec<_> = State::feeds().collect();
    for feed in &feeds {
        assert!(!state.is_complete(), "{feed}");
        state.take(feed, Event::Init);
        assert!(!state.is_complete(), "{feed}");
        state.take(feed, Event::InitDone);
    }
    assert!(!state.is_complete(), "the Secrets are missing");
    assert_eq!(state.wishes(), [Wish::WatchAll]);
    let secrets = Feed::Kind(Kind::Secret);
    state.take(&secrets, Event::Init);
    assert!(!state.is_complete());
    state.take(&secrets, Event::InitDone);
    assert!(state.is_complete() && state.wishes().is_empty());
    // A new list takes nothing away before it is complete.
    state.take(&secrets, Event::Init);
    assert!(state.is_complete());
}

/// Our kinds may not be installed yet; a server that forgets them for a moment takes nothing away.
#[test]
fn a_kind_that_is_missing_has_no_objects_and_keeps_those_it_had() {
    let mut state = State::new(SecretProfile::Named, Settings::default());
    let membership = Feed::Kind(Kind::EdgeMembership);
    for feed in State::feeds().filter(|feed| *feed != membership) {
        state.take(&feed, Event::Init);
        state.take(&feed, Event::InitDone);
    }
    assert!(!state.is_complete());
    assert!(state.take_missing(&membership));
    assert!(state.is_complete());
    let history =
        objects("{apiVersion: edgelb.dev/v1alpha1, kind: EdgeMembership, metadata: {name: edgelb}}");
    state.take(&membership, Event::Apply(Item::Object(history[0].clone())));
    assert!(!state.take_missing(&membership));
    assert_eq!(state.index.count(Kind::EdgeMembership), 1);
}

/// Those of the oldest Ingresses stay; whoever comes too late hears why.
#[test]
fn secrets_by_name_have_a_bound() {
    let class = object(0, 0);
    let ingress = |at: usize| {
        let created = format!("2026-01-01T00:{:02}:{:02}Z", at / 60, at % 60);
        objects(&format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: i{at}, creationTimestamp: '{created}'}}, spec: {{ingressClassName: edgelb, tls: [{{secretName: t{at}}}], rules: [{{host: a.org}}]}}}}")).remove(0)
    };
    let mut state = State::new(SecretProfile::Named, Settings::default());
    // The youngest is there first.
    let extra = MOST_NAMED + 1;
    take_all(&mut state, [vec![class], (0..=MOST_NAMED).map(ingress).collect()].concat());
    let watched: BTreeSet<_> =
        state.wishes().into_iter().collect::<Vec<_>>().iter().map(|wish| format!("{wish:?}")).collect();
    assert_eq!(watched.len(), MOST_NAMED);
    let problems = state.problems();
    assert_eq!(problems.len(), 1);
    let text = problems[0].to_string();
    assert!(
        text.contains(&format!("i{MOST_NAMED}: spec.tls[0].secretName"))
            && text.contains("--secrets cluster"),
        "{text}"
    );

    // An older one is gone: the next moves up.
    state.take(&Feed::Kind(Kind::Ingress), Event::Delete(Item::Object(ingress(0))));
    let moved = |name: usize| ObjectRef::new(Kind::Secret, "default", format!("t{name}"));
    assert_eq!(state.wishes(), [Wish::Unwatch(moved(0)), Wish::Watch(moved(MOST_NAMED))]);
    assert!(state.problems().is_empty());
    state.take(&Feed::Kind(Kind::Ingress), Event::Apply(Item::Object(ingress(extra))));
    assert!(state.wishes().is_empty());
    assert_eq!(state.problems().len(), 1);
}

/// One namespace whose owner gave no right does not keep the node from starting.
#[test]
fn a_secret_that_may_not_be_read_is_told_where_it_is_named() {
    let mut state = State::new(SecretProfile::Named, Settings::default());
    take_all(&mut state, vec![object(0, 0), object(1, 0)]);
    let secret = ObjectRef::new(Kind::Secret, "default", "t0");
    assert_eq!(state.wishes(), [Wish::Watch(secret.clone())]);
    assert!(!state.is_complete());
    let feed = Feed::Secret(secret);
    assert!(state.take_failure(&feed, "403 forbidden"));
    assert!(state.is_complete());
    let told: Vec<_> = state.problems().iter().map(|problem| problem.field.clone()).collect();
    assert_eq!(told, ["spec.tls[0].secretName", "spec.tls[1].secretName"]);
    assert!(state.take_current(&feed));
    assert!(state.problems().is_empty());
}

#[test]
fn a_history_that_somebody_deletes_stays_in_force() {
    let mut state = State::new(SecretProfile::Cluster, Settings::default());
    let feed = Feed::Kind(Kind::EdgeMembership);
    let written = |number: u64| {
        let text = format!(
            "{{apiVersion: edgelb.dev/v1alpha1, kind: EdgeMembership, metadata: {{name: edgelb}}, spec: {{lastId: 1, generations: [{{number: {number}, step: Settled, members: [{{name: a, id: 1, address: 198.51.100.1, weight: 1, state: Active}}]}}]}}}}"
        );
        objects(&text).remove(0)
    };
    let number = |state: &State| {
        let history = state.index.history().expect("it is there");
        history.spec.generations[0].number
    };
    state.take(&feed, Event::Init);
    state.take(&feed, Event::InitApply(Item::Object(written(7))));
    state.take(&feed, Event::InitDone);
    assert!(!state.take(&feed, Event::Delete(Item::Object(written(7)))));
    assert_eq!(number(&state), 7);
    state.take(&feed, Event::Init);
    assert!(!state.take(&feed, Event::InitDone));
    assert_eq!(number(&state), 7);
    assert!(state.take(&feed, Event::Apply(Item::Object(written(8)))));
    assert_eq!(number(&state), 8);
    state.take(&feed, Event::Init);
    state.take(&feed, Event::InitApply(Item::Object(written(9))));
    assert!(state.take(&feed, Event::InitDone));
    assert_eq!((number(&state), state.index.count(Kind::EdgeMembership)), (9, 1));
}
