//! What is watched, and what comes of it: the words between the watches and the state that they feed.

use std::fmt;

use kube::runtime::watcher::Event;

use super::failure::Failure;
use crate::model::{Kind, ObjectRef, SecretBytes};
use crate::source::Object;

/// One watch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Feed {
    /// All objects of a kind; of Secrets those with a certificate, in profile `cluster`.
    Kind(Kind),
    /// The one Secret of this name, in profile `named`.
    Secret(ObjectRef),
    /// The Namespace `kube-system`: its uid is that of the cluster.
    Cluster,
    /// The Secret with the flow hash's key.
    FlowKey,
}

impl Feed {
    /// The kind, for logs and metrics: single Secrets share one.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.as_str(),
            Self::Secret(_) => Kind::Secret.as_str(),
            Self::Cluster => "Namespace",
            Self::FlowKey => "FlowKey",
        }
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(secret) => secret.fmt(f),
            _ => f.write_str(self.name()),
        }
    }
}

/// What a watch found.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Item {
    /// An object for the index, stripped.
    Object(Object),
    /// The cluster's uid.
    Cluster(String),
    /// The flow hash's secret, if the Secret holds one.
    FlowKey(Option<FlowSecret>),
}

/// The bytes that the flow hash is keyed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowSecret(pub SecretBytes);

/// A watch's news.
#[derive(Debug)]
pub(super) struct Message {
    /// Of which watch.
    pub(super) feed: Feed,
    /// What.
    pub(super) news: News,
}

/// What a watch may tell.
#[derive(Debug)]
pub(super) enum News {
    /// A part of a list, or a change.
    Event(Event<Item>),
    /// It follows again, or for the first time.
    Current,
    /// An attempt failed; the last state stays.
    Failed(Failure),
    /// A Secret that was read by its name, or what was wrong; so often in a row before.
    Read {
        /// The Secret.
        secret: ObjectRef,
        /// Of the question.
        ticket: u64,
        /// What the server said: `None` if there is none.
        answer: Result<Option<Object>, String>,
        /// Failures before this answer.
        failures: u32,
    },
}
