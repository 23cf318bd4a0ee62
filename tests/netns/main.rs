//! The netns tier: many nodes in namespaces, real clients. Needs root.

mod lab;

use std::time::Duration;

/// How long one step of a client may take.
const PATIENCE: Duration = Duration::from_secs(5);
