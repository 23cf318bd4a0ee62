//! A real Kubernetes for tests, `ControlPlane` is etcd and the API server on loopback, with the controllers where a
//! test needs them: no root, ready in about three seconds. `Fault` stands in front of it and misbehaves on demand.
//! `Cluster` is a control plane with nodes, each with a kubelet and containerd in namespaces of their own: needs root.

pub mod address;
mod audit;

mod compaction;
mod control_plane;
mod credentials;
mod daemon;
mod evidence;
mod fault;
mod forward;
mod ground;
mod kubeconfig;
pub mod node;
mod outage;
mod place;
mod programs;
mod raise;
pub mod standing;
mod starter;

pub use audit::Write;
pub use control_plane::{ControlPlane, Options};
pub use daemon::Daemon;
pub use evidence::run;
pub use fault::{Fault, Matching, Seen};
pub use kubeconfig::Login;
pub use node::Node;
pub use programs::{kubernetes_version, program};
pub use raise::{APP_IMAGE, Cluster, Settings, is_ready};
