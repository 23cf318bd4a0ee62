//! `EdgeMembership`, group `edgelb.dev/v1alpha1`, cluster-scoped: the history of who owned flows and who does.
//!
//! There is one object, `edgelb`. The elected leader writes it, by update with its resourceVersion; everybody fills
//! tables from it, so that all nodes have the same rows whatever they saw of the nodes themselves, and when.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod check;
mod flow_key;

pub use check::{MOST_GENERATIONS, MOST_NUMBER, Nonsense};
pub use flow_key::FlowKeyPrint;

/// The history of memberships.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EdgeMembership {
    /// Its name is `EdgeMembership::NAME`; it has no namespace, as Nodes have none.
    pub metadata: ObjectMeta,
    /// The history itself: all that tables depend on.
    #[serde(deserialize_with = "spec")]
    pub spec: EdgeMembershipSpec,
    /// For people: how far the nodes are with it.
    #[serde(deserialize_with = "status")]
    pub status: Option<EdgeMembershipStatus>,
}

/// Generations that may still own flows.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EdgeMembershipSpec {
    /// The oldest first; the last one is the newest. Numbers only rise.
    pub generations: Vec<MembershipGeneration>,
    /// The id that was given last: the next one is looked for behind it, so that ids are re-used late.
    pub last_id: u16,
    /// What is wrong with a spec that somebody wrote by hand and that does not parse: all else in it is then empty.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// Who owns flows, from one change to the next.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MembershipGeneration {
    /// Its number, 1 or more.
    pub number: u64,
    /// How far it is.
    pub step: MembershipStep,
    /// The members, by name in ascending order.
    pub members: Vec<EdgeMember>,
    /// By which flow key its flows are found. A history of before there was anything to say does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_key: Option<FlowKeyPrint>,
    /// When it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// The steps of a generation. New flows open at its members from `Switch` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub enum MembershipStep {
    /// Its members are asked for flows that they may have; new ones open as before. Only the last one is at it.
    Learn,
    /// In force; not all live nodes have said yet that it is in their kernels.
    Switch,
    /// In force, and all live nodes have it in their kernels.
    Settled,
}

/// A member as the leader found it when it wrote the generation.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeMember {
    /// The Node's name.
    pub name: String,
    /// Its id on the wire and in rows, 1 or more. No two members of any generation in the history share one.
    pub id: u16,
    /// Where encapsulated packets for it are sent.
    pub address: IpAddr,
    /// Its share of new flows in relation to other members' weights; 0 takes none.
    pub weight: u32,
    /// Whether it takes new flows.
    pub state: MemberState,
}

impl EdgeMember {
    /// Its share of new flows as it stands.
    #[must_use]
    pub const fn share(&self) -> u32 {
        match self.state {
            MemberState::Active => self.weight,
            MemberState::Draining => 0,
        }
    }
}

/// What a member is up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub enum MemberState {
    /// New flows open there.
    Active,
    /// It keeps the flows that it has.
    Draining,
}

/// How far the nodes are: for `kubectl get edgememberships`. Nothing depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EdgeMembershipStatus {
    /// The newest generation's number.
    pub generation: u64,
    /// Its step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<MembershipStep>,
    /// Its members' names, separated by commas.
    pub members: String,
    /// Those of them at which no flow opens yet, separated by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub joining: String,
    /// Those of them that drain, separated by commas.
    pub draining: String,
    /// What those have left: `edge-2: 3 connections left, the oldest 4 min`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drains: Vec<String>,
    /// Members of earlier generations whose agents are gone, separated by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dead: String,
    /// How many live nodes have it in their kernels: `2 of 3`.
    pub acknowledged: String,
    /// Members whose rows differ from those of most others, though all acknowledge the same generation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverging: Vec<String>,
    /// The change that waits for earlier ones, and for whom: `change 9 queued (edge-4 joins): edge-2 holds flows of
    /// generation 7`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}

impl EdgeMembership {
    /// The name of the one object of this kind.
    pub const NAME: &'static str = "edgelb";
}

/// An object that does not parse would be none at all to its readers: they could neither say what is wrong with it,
/// nor mend it.
fn spec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EdgeMembershipSpec, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_else(|error: serde_json::Error| EdgeMembershipSpec {
        unreadable: Some(error.to_string()),
        ..EdgeMembershipSpec::default()
    }))
}

/// It is for people alone, and written anew.
fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EdgeMembershipStatus>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// As the API server wants it: with `apiVersion` and `kind`.
impl Serialize for EdgeMembership {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct(Self::KIND, 5)?;
        object.serialize_field("apiVersion", Self::API_VERSION)?;
        object.serialize_field("kind", Self::KIND)?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("spec", &self.spec)?;
        match &self.status {
            Some(status) => object.serialize_field("status", status)?,
            None => object.skip_field("status")?,
        }
        object.end()
    }
}

impl Resource for EdgeMembership {
    const API_VERSION: &'static str = super::API_VERSION;
    const GROUP: &'static str = super::GROUP;
    const KIND: &'static str = "EdgeMembership";
    const VERSION: &'static str = super::VERSION;
    const URL_PATH_SEGMENT: &'static str = "edgememberships";
    type Scope = ClusterResourceScope;
}

impl Metadata for EdgeMembership {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
