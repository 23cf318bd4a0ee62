//! Why the admin endpoints do not listen, or do not answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why there is no admin endpoint, or no answer from one.
#[derive(Debug, Error)]
pub enum AdminError {
    /// A TCP address cannot be listened on.
    #[error("cannot listen on {address} for admin requests: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The unix socket cannot be made.
    #[error("cannot make the admin socket {path}: {source}; name another place with --admin-socket")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another agent listens on the unix socket.
    #[error(
        "another agent answers on the admin socket {path}: stop it, or name another place with --admin-socket"
    )]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else in the socket's place.
    #[error("{path} is no socket and is left alone: remove it, or name another place with --admin-socket")]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// The agent cannot be reached.
    #[error("no agent answers on {path}: {source}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What it is to be asked cannot be sent to it.
    #[error("an agent cannot be asked that: {0}")]
    Question(#[source] http::Error),
    /// The agent hung up, or what answers does not speak HTTP.
    #[error("the agent at {path} does not answer properly: {source}")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The agent answers something else.
    #[error("the agent at {path} says: {words}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What it said.
        words: String,
    },
    /// The agent takes too long.
    #[error("the agent at {path} did not answer within {timeout:?}")]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// The time it was given.
        timeout: Duration,
    },
}
