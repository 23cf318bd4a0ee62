//! A real Kubernetes for tests. `ControlPlane` is etcd and the API server on loopback, with the controllers where a
//! test needs them: no root, ready in about three seconds. `Fault` stands in front of it and misbehaves on demand.

mod audit;
mod control_plane;
mod credentials;
mod daemon;
mod fault;
mod ground;
mod kubeconfig;
mod place;
mod programs;
mod starter;

pub use audit::Write;
pub use control_plane::{ControlPlane, Options};
pub use daemon::Daemon;
pub use fault::{Fault, Matching, Seen};
pub use kubeconfig::Login;
pub use programs::{kubernetes_version, program};
