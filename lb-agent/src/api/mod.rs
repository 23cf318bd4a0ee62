//! Our own kinds, group `edgelb.dev`, as they stand in the API: plain data that `source` reads and `status` writes; and
//! the name under which edgelb writes.

mod edge_membership;
mod ingress_parameters;
mod manager;

pub use edge_membership::{
    EdgeMember, EdgeMembership, EdgeMembershipSpec, EdgeMembershipStatus, FlowKeyPrint, MOST_GENERATIONS,
    MOST_NUMBER, MemberState, MembershipGeneration, MembershipStep, Nonsense,
};
pub use ingress_parameters::{
    DefaultBackend, IngressParameters, IngressParametersSpec, SecretRef, ServiceRef, TlsSettings,
};
pub use manager::{MANAGER, owns_status};

/// The group of our kinds.
pub const GROUP: &str = "edgelb.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// The `apiVersion:` of a manifest.
pub const API_VERSION: &str = "edgelb.dev/v1alpha1";
