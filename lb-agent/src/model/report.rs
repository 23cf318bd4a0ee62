//! What the cluster is told about its objects: the source knows it, `status` writes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{ObjectRef, Problem};

/// The state of one moment, as far as owners of objects should hear of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Services and Ingresses whose `status.loadBalancer` is ours to write, or to give up, each with what it should be.
    pub addresses: BTreeMap<ObjectRef, Published>,
    /// What is wrong with the objects, sorted, as in the snapshot.
    pub problems: Vec<Problem>,
    /// `metadata.uid` of the objects with problems: `kubectl describe` finds Events by it.
    pub uids: BTreeMap<ObjectRef, String>,
}

/// The addresses of a Service or an Ingress.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// Where clients reach it: of a Service its VIPs, of an Ingress those of its class's listeners. `None` of one that is
    /// not ours any more: what we wrote there is given up, and what others did stays.
    pub wanted: Option<Arc<[IpAddr]>>,
    /// Whether the object's status says just that already, `ipMode` included.
    pub is_current: bool,
}
