//! The e2e tier: real kubelets with containerd, each in namespaces of its own. Needs root.

mod cluster;
mod edgelb;
