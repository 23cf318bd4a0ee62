//! What the watches told, as a pure state: the index, the lists that are under way, and what is still missing.
//! No clock, no socket: what follows from it is done elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;
use tracing::warn;

use super::feed::{Feed, FlowSecret, Item};
use super::secrets::{MOST_NAMED, SecretProfile, Secrets};
use crate::api::EdgeMembership;
use crate::model::{Kind, ObjectRef, Origin, Problem};
use crate::source::{Index, Object, Settings};

/// Kinds without which it cannot be said which Secrets are of use.
const BEFORE_SECRETS: [Kind; 3] = [Kind::IngressClass, Kind::IngressParameters, Kind::Ingress];

/// Everything that is known of the cluster.
#[derive(Debug)]
pub(super) struct State {
    /// The objects.
    pub(super) index: Index,
    /// The cluster's uid.
    pub(super) cluster: Option<String>,
    /// The flow hash's secret. Never taken away: without it a node can do nothing.
    pub(super) flow_key: Option<FlowSecret>,
    profile: SecretProfile,
    settings: Settings,
    lists: BTreeMap<Feed, List>,
    /// Feeds of which a complete list was taken, or that have none.
    complete: BTreeSet<Feed>,
    secrets: Secrets,
    /// In profile `cluster`: whether the watch of all Secrets was wished for.
    watches_all: bool,
    /// Secrets of use that the watch told of when they were not.
    unread: BTreeSet<ObjectRef>,
    /// Secrets asked for by name.
    asked: BTreeMap<ObjectRef, Question>,
    /// Of the last question.
    ticket: u64,
    /// In profile `named`: watched now, and what is wrong with the watch.
    watched: BTreeMap<ObjectRef, Option<String>>,
}

/// A list that is not complete yet.
#[derive(Debug, Default)]
struct List {
    items: Vec<Item>,
    /// Secrets of no use when they came by.
    dropped: BTreeSet<ObjectRef>,
}

/// A question for a Secret by its name.
#[derive(Debug)]
struct Question {
    /// Which one: the answer to an earlier one may be older than what was seen since.
    ticket: u64,
    /// What was wrong with the last answer.
    trouble: Option<String>,
}

/// What is to be done about Secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// Profile `cluster`: begin to watch them.
    WatchAll,
    /// Profile `named`: begin to watch this one.
    Watch(ObjectRef),
    /// Profile `named`: no longer.
    Unwatch(ObjectRef),
    /// Profile `cluster`: read this one; the watch told of it when nobody needed it.
    Read {
        /// The Secret.
        secret: ObjectRef,
        /// To be given back with the answer.
        ticket: u64,
    },
}

impl State {
    pub(super) fn new(profile: SecretProfile, settings: Settings) -> Self {
        Self {
            index: Index::default(),
            cluster: None,
            flow_key: None,
            profile,
            settings,
            lists: BTreeMap::new(),
            complete: BTreeSet::new(),
            secrets: Secrets::default(),
            watches_all: false,
            unread: BTreeSet::new(),
            asked: BTreeMap::new(),
            ticket: 0,
            watched: BTreeMap::new(),
        }
    }

    /// What is watched from the start.
    pub(super) fn feeds() -> impl Iterator<Item = Feed> {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret);
        kinds.map(Feed::Kind).chain([Feed::Cluster, Feed::FlowKey])
    }

    /// Whether everything was listed once: what is known is the state of the cluster, and not a part of it.
    pub(super) fn is_complete(&self) -> bool {
        Self::feeds().all(|feed| self.complete.contains(&feed))
            && match self.profile {
                SecretProfile::Cluster => self.complete.contains(&Feed::Kind(Kind::Secret)),
                SecretProfile::Named => self.is_settled(),
            }
    }

    /// Whether all Secrets of use are here, or it is known why not.
    pub(super) fn is_settled(&self) -> bool {
        let is_known = |(secret, trouble): (&ObjectRef, &Option<String>)| {
            trouble.is_some() || self.complete.contains(&Feed::Secret(secret.clone()))
        };
        self.unread.is_empty()
            && self.asked.values().all(|question| question.trouble.is_some())
            && self.watched.iter().all(is_known)
    }

    /// Takes an event; says whether anything changed that matters.
    pub(super) fn take(&mut self, feed: &Feed, event: Event<Item>) -> bool {
        match event {
            Event::Init => {
                self.lists.insert(feed.clone(), List::default());
                false
            }
            Event::InitApply(item) => {
                self.list(feed, item);
                false
            }
            Event::InitDone => {
                let list = self.lists.remove(feed).unwrap_or_default();
                let is_first = self.complete.insert(feed.clone());
                self.reset(feed, list) || is_first
            }
            Event::Apply(item) => self.apply(feed, item),
            Event::Delete(item) => self.delete(feed, &item),
        }
    }

    /// The server does not know the kind. At first that means that there are none; later, that it will be back.
    pub(super) fn take_missing(&mut self, feed: &Feed) -> bool {
        self.complete.insert(feed.clone())
    }

    /// A watch failed; of a single Secret that is all that can be said about it.
    pub(super) fn take_failure(&mut self, feed: &Feed, message: &str) -> bool {
        let Feed::Secret(secret) = feed else { return false };
        let told = self.watched.get_mut(secret).map(|trouble| trouble.replace(message.to_owned()));
        told.is_some_and(|trouble| trouble.as_deref() != Some(message))
    }

    /// A watch works again.
    pub(super) fn take_current(&mut self, feed: &Feed) -> bool {
        let Feed::Secret(secret) = feed else { return false };
        self.watched.get_mut(secret).and_then(Option::take).is_some()
    }

    /// The answer to `Wish::Read`. What the watch said since then is newer: it stays.
    pub(super) fn take_read(
        &mut self,
        secret: &ObjectRef,
        ticket: u64,
        answer: Result<Option<Object>, String>,
    ) -> bool {
        let question = self.asked.get_mut(secret).filter(|question| question.ticket == ticket);
        let Some(question) = question else { return false };
        match answer {
            Ok(object) => {
                self.asked.remove(secret);
                object.is_some_and(|object| self.index.apply(object, Origin::Api))
            }
            Err(message) => question.trouble.replace(message.clone()) != Some(message),
        }
    }

    /// Whether the answer to `Wish::Read` is still waited for.
    pub(super) fn is_asked(&self, secret: &ObjectRef, ticket: u64) -> bool {
        self.asked.get(secret).is_some_and(|question| question.ticket == ticket)
    }

    /// Looks which Secrets are of use now, once that can be said.
    pub(super) fn wishes(&mut self) -> Vec<Wish> {
        if !BEFORE_SECRETS.iter().all(|kind| self.complete.contains(&Feed::Kind(*kind))) {
            return Vec::new();
        }
        let (wanted, others) = self.secrets.refresh(&self.index, &self.settings);
        for secret in &others {
            self.index.delete(secret);
            self.asked.remove(secret);
            self.unread.remove(secret);
        }
        match self.profile {
            SecretProfile::Cluster => self.wish_to_read(wanted),
            SecretProfile::Named if wanted.is_empty() && others.is_empty() => Vec::new(),
            SecretProfile::Named => self.wish_to_watch(),
        }
    }

    /// What is wrong with reading Secrets, at the places that name them.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let asked = self.asked.iter().map(|(secret, question)| (secret, question.trouble.as_ref()));
        let watched = self.watched.iter().map(|(secret, trouble)| (secret, trouble.as_ref()));
        let unread = asked.chain(watched).filter_map(|(secret, trouble)| Some((secret, trouble?)));
        let mut troubles: BTreeMap<_, _> =
            unread.map(|(secret, trouble)| (secret, format!("{secret} cannot be read: {trouble}"))).collect();
        if self.profile == SecretProfile::Named {
            let unwatched = self.secrets.wanted().filter(|secret| !self.watched.contains_key(secret));
            troubles.extend(unwatched.map(|secret| (secret, too_many(secret))));
        }
        self.secrets.problems(&self.index, &troubles)
    }

    fn wish_to_read(&mut self, wanted: Vec<ObjectRef>) -> Vec<Wish> {
        self.unread.extend(wanted);
        if !std::mem::replace(&mut self.watches_all, true) {
            return vec![Wish::WatchAll];
        }
        let feed = Feed::Kind(Kind::Secret);
        if self.lists.contains_key(&feed) || !self.complete.contains(&feed) {
            // They come by, or the list's end shows that they did.
            return Vec::new();
        }
        std::mem::take(&mut self.unread).into_iter().map(|secret| self.ask(secret)).collect()
    }

    fn ask(&mut self, secret: ObjectRef) -> Wish {
        self.ticket += 1;
        let ticket = self.ticket;
        self.asked.insert(secret.clone(), Question { ticket, trouble: None });
        Wish::Read { secret, ticket }
    }

    fn wish_to_watch(&mut self) -> Vec<Wish> {
        let wanted = self.secrets.watched(&self.index);
        let gone: Vec<_> = self.watched.keys().filter(|secret| !wanted.contains(*secret)).cloned().collect();
        for secret in &gone {
            self.watched.remove(secret);
            self.index.delete(secret);
            let feed = Feed::Secret(secret.clone());
            self.lists.remove(&feed);
            self.complete.remove(&feed);
        }
        let new: Vec<_> = wanted.into_iter().filter(|secret| !self.watched.contains_key(secret)).collect();
        self.watched.extend(new.iter().map(|secret| (secret.clone(), None)));
        gone.into_iter().map(Wish::Unwatch).chain(new.into_iter().map(Wish::Watch)).collect()
    }

    fn list(&mut self, feed: &Feed, item: Item) {
        let Some(list) = self.lists.get_mut(feed) else { return };
        match useless(&item, &self.secrets) {
            Some(secret) if *feed == Feed::Kind(Kind::Secret) => {
                list.dropped.insert(secret);
            }
            _ => list.items.push(item),
        }
    }

    fn reset(&mut self, feed: &Feed, list: List) -> bool {
        match feed {
            Feed::Kind(kind) => {
                let mut objects: Vec<_> =
                    list.items.into_iter().filter(|item| useless(item, &self.secrets).is_none()).collect();
                if *kind == Kind::Secret {
                    objects.extend(self.keep(&list.dropped));
                }
                if *kind == Kind::EdgeMembership && !objects.iter().any(is_history) {
                    objects.extend(self.index.entry(&history()).map(|(held, _)| Item::Object(held.clone())));
                }
                self.secrets.touch_all(*kind);
                self.index
                    .reset(*kind, objects.into_iter().filter_map(object).map(|object| (object, Origin::Api)))
            }
            Feed::Secret(secret) => {
                let found = list.items.into_iter().filter_map(object);
                let mut found = found.filter(|object| object.reference() == *secret);
                match found.next() {
                    _ if !self.watched.contains_key(secret) => false,
                    Some(object) => self.index.apply(object, Origin::Api),
                    None => self.index.delete(secret),
                }
            }
            Feed::Cluster | Feed::FlowKey => {
                let mut changed = false;
                for item in list.items {
                    changed |= self.apply(feed, item);
                }
                changed
            }
        }
    }

    /// Of the Secrets that a list passed by when nobody needed them: those that were read since. What is needed
    /// and was not is to be read.
    fn keep(&mut self, dropped: &BTreeSet<ObjectRef>) -> Vec<Item> {
        let mut kept = Vec::new();
        let mut unread = BTreeSet::new();
        for secret in dropped.iter().filter(|secret| self.secrets.wants(secret)) {
            match self.index.entry(secret) {
                Some((object, _)) => kept.push(Item::Object(object.clone())),
                None if self.asked.contains_key(secret) => {}
                None => {
                    unread.insert(secret.clone());
                }
            }
        }
        self.unread = unread;
        kept
    }

    fn apply(&mut self, feed: &Feed, item: Item) -> bool {
        match item {
            Item::Object(object) => {
                let name = object.reference();
                if !self.is_of_use(feed, &name) {
                    return false;
                }
                self.secrets.touch(&name);
                self.index.apply(object, Origin::Api)
            }
            Item::Cluster(uid) => self.cluster.replace(uid.clone()) != Some(uid),
            Item::FlowKey(Some(key)) => self.flow_key.replace(key.clone()) != Some(key),
            Item::FlowKey(None) => false,
        }
    }

    fn delete(&mut self, feed: &Feed, item: &Item) -> bool {
        let Item::Object(object) = item else { return false };
        let name = object.reference();
        if !self.is_of_use(feed, &name) {
            return false;
        }
        if name == history() {
            warn!("the history of memberships was deleted: what it said stays until there is another one");
            return false;
        }
        self.secrets.touch(&name);
        self.index.delete(&name)
    }

    /// Whether the watch's word on the object is taken; it is then newer than what was asked for by name.
    fn is_of_use(&mut self, feed: &Feed, object: &ObjectRef) -> bool {
        match feed {
            Feed::Secret(secret) => secret == object && self.watched.contains_key(secret),
            _ if object.kind == Kind::Secret => {
                self.asked.remove(object);
                self.unread.remove(object);
                self.secrets.wants(object)
            }
            _ => true,
        }
    }
}

/// The history of memberships. Never taken away: without members all edge nodes would drop what clients send, from the
/// moment that somebody deletes it until the leader writes it again.
fn history() -> ObjectRef {
    ObjectRef::new(Kind::EdgeMembership, "", EdgeMembership::NAME)
}

fn is_history(item: &Item) -> bool {
    matches!(item, Item::Object(object) if object.reference() == history())
}

fn object(item: Item) -> Option<Object> {
    match item {
        Item::Object(object) => Some(object),
        _ => None,
    }
}

/// The name of a Secret that is of no use.
fn useless(item: &Item, secrets: &Secrets) -> Option<ObjectRef> {
    match item {
        Item::Object(object) => {
            Some(object.reference()).filter(|object| object.kind == Kind::Secret && !secrets.wants(object))
        }
        _ => None,
    }
}

fn too_many(secret: &ObjectRef) -> String {
    format!(
        "{secret} is not read: with --secrets named, at most {MOST_NAMED} Secrets of a namespace are, those of the \
         oldest Ingresses; use --secrets cluster, or fewer Secrets"
    )
}
