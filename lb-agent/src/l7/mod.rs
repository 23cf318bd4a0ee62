//! Request -> pod: listeners, TLS, match, balance, pool, forward, reply. Knows `model`, nothing of BPF.
mod path_index;
pub mod router;
