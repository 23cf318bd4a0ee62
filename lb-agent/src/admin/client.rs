//! Asks a running agent over its unix socket, for `lb-agent health`.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::AdminError;

/// An agent that needs longer is not well.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Far more than any answer on readiness.
const MAX_BODY: usize = 64 * 1024;

/// What an agent is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Whether it runs and answers.
    Live,
    /// Whether a first complete state is live in kernel and proxy.
    Ready,
}

/// What an agent says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Whether it is what it was asked for.
    pub is_well: bool,
    /// Its words: what is missing, if it is not ready.
    pub message: String,
}

/// Asks the agent behind `socket`, for at most 2 seconds.
///
/// # Errors
/// `AdminError` if there is no answer.
pub async fn health(socket: &Path, probe: Probe) -> Result<Health, AdminError> {
    match timeout(TIMEOUT, ask(socket, probe)).await {
        Ok(answer) => answer,
        Err(_) => Err(AdminError::Timeout { path: socket.to_owned(), timeout: TIMEOUT }),
    }
}

async fn ask(socket: &Path, probe: Probe) -> Result<Health, AdminError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| AdminError::Unreachable { path: socket.to_owned(), source })?;
    let failed = |source| AdminError::Answer { path: socket.to_owned(), source };
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let path = match probe {
        Probe::Live => "/livez",
        Probe::Ready => "/readyz",
    };
    let request = Request::get(path).header(HOST, "edgelb").body(Empty::<Bytes>::new());
    let response = sender.send_request(request.expect("the request is constant")).await.map_err(failed)?;
    let is_well = response.status().is_success();
    // Its status is the answer: words that cannot be read are missed by people alone.
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let message = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned());
    Ok(Health { is_well, message: message.unwrap_or_default() })
}
