//! Asks a running agent over its unix socket, for the commands beside `run`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::endpoints::{HOLDERS, METRICS, OVERVIEW};
use super::holders::query;
use super::{AdminError, Asked, DrainReport, Overview};

/// An agent that needs longer is not well.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Far more than any answer: metrics of as many services as there can be.
const MAX_BODY: usize = 64 << 20;

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

/// What an agent is told, or asked, of a drain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// To drain within so many seconds.
    Begin(u32),
    /// To call the drain off.
    CallOff,
    /// How it goes.
    Progress,
}

/// Asks the agent behind `socket`, for at most 2 seconds.
///
/// # Errors
/// `AdminError` if there is no answer.
pub async fn health(socket: &Path, probe: Probe) -> Result<Health, AdminError> {
    let path = match probe {
        Probe::Live => "/livez",
        Probe::Ready => "/readyz",
    };
    let (status, message) = ask(socket, Method::GET, path).await?;
    Ok(Health { is_well: status.is_success(), message: message.trim_end().to_owned() })
}

/// The same, of a drain.
///
/// # Errors
/// `AdminError` if there is no answer, or not this one.
pub async fn ask_drain(socket: &Path, what: Ask) -> Result<DrainReport, AdminError> {
    let (method, path) = match what {
        Ask::Begin(seconds) => (Method::POST, format!("/drain?deadline={seconds}")),
        Ask::CallOff => (Method::DELETE, "/drain".to_owned()),
        Ask::Progress => (Method::GET, "/drain".to_owned()),
    };
    let (status, body) = ask(socket, method, &path).await?;
    let report = if status.is_success() { serde_json::from_str(&body).ok() } else { None };
    let words = || AdminError::Refused { path: socket.to_owned(), words: body.trim_end().to_owned() };
    report.ok_or_else(words)
}

/// What the agent knows that `explain` and `top` need.
///
/// # Errors
/// `AdminError` if there is no answer, or not this one.
pub async fn overview(socket: &Path) -> Result<Overview, AdminError> {
    let (status, body) = ask(socket, Method::GET, OVERVIEW).await?;
    let overview = if status.is_success() { serde_json::from_str(&body).ok() } else { None };
    let words = || AdminError::Refused { path: socket.to_owned(), words: body.trim_end().to_owned() };
    overview.ok_or_else(words)
}

/// Which of the other members has the connection between a client and a VIP: has the agent ask them all.
///
/// # Errors
/// As `overview`.
pub async fn ask_members(
    socket: &Path,
    client: SocketAddr,
    vip: SocketAddr,
) -> Result<Vec<Asked>, AdminError> {
    let (status, body) = ask(socket, Method::GET, &format!("{HOLDERS}?{}", query(client, vip))).await?;
    let all = if status.is_success() { serde_json::from_str(&body).ok() } else { None };
    let words = || AdminError::Refused { path: socket.to_owned(), words: body.trim_end().to_owned() };
    all.ok_or_else(words)
}

/// Its metrics as text.
///
/// # Errors
/// As `overview`.
pub(super) async fn metrics(socket: &Path) -> Result<String, AdminError> {
    let (status, body) = ask(socket, Method::GET, METRICS).await?;
    if status.is_success() {
        return Ok(body);
    }
    Err(AdminError::Refused { path: socket.to_owned(), words: body.trim_end().to_owned() })
}

/// Its status is the answer: words that cannot be read are missed by people alone.
async fn ask(socket: &Path, method: Method, path: &str) -> Result<(StatusCode, String), AdminError> {
    let asked = async {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| AdminError::Unreachable { path: socket.to_owned(), source })?;
        let failed = |source| AdminError::Answer { path: socket.to_owned(), source };
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(HOST, "edgelb");
        let request = request.body(Empty::<Bytes>::new()).expect("the request is well-formed");
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let words = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        Ok((status, words.unwrap_or_default()))
    };
    let late = || AdminError::Timeout { path: socket.to_owned(), timeout: TIMEOUT };
    timeout(TIMEOUT, asked).await.unwrap_or_else(|_| Err(late()))
}
