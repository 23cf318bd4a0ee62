//! The control tier: a real API server with etcd on loopback. Needs no root.

mod agent;
mod control_plane;
mod deploy;
mod fault;
mod kinds;
mod rbac;
mod shipped;
mod status;
