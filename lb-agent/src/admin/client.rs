//! Asks a running agent over its unix socket, for the commands beside `run`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, TE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::capture::{Question, SUMMARY};
use super::endpoints::{CAPTURE, EXCLUDE_DRAIN, HOLDERS, METRICS, OVERVIEW, REQUEST};
use super::holders::query;
use super::{AdminError, Asked, DrainReport, Overview, explain};
use crate::model::{RequestAsked, RequestExplained};

/// An agent that needs longer is not well.
const TIMEOUT: Duration = Duration::from_secs(2);

/// To begin a capture takes an agent longer: the kernel looks at a program.
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(15);

/// Far more than any answer: metrics of as many services as there can be.
const MAX_BODY: usize = 64 << 20;

/// What an agent is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Whether it runs and answers.
    Live,
    /// Whether a first complete state is live in kernel and proxy, and the node does not drain.
    Ready,
    /// The same of a node that may drain.
    Works,
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
        Probe::Live => "/livez".to_owned(),
        Probe::Ready => "/readyz".to_owned(),
        Probe::Works => format!("/readyz?{EXCLUDE_DRAIN}"),
    };
    let (status, message) = ask(socket, Method::GET, &path).await?;
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

/// What becomes of a request, and why.
///
/// # Errors
/// As `overview`; `AdminError::Refused` too for what is no request.
pub async fn explain_request(socket: &Path, asked: &RequestAsked) -> Result<RequestExplained, AdminError> {
    let path = format!("{REQUEST}?{}", explain::query(asked));
    let (status, body) = ask(socket, Method::GET, &path).await?;
    let explained = if status.is_success() { serde_json::from_str(&body).ok() } else { None };
    let words = || AdminError::Refused { path: socket.to_owned(), words: body.trim_end().to_owned() };
    explained.ok_or_else(words)
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

/// A capture as it comes.
#[derive(Debug)]
pub struct Capturing {
    body: Incoming,
    summary: Option<String>,
}

impl Capturing {
    /// The next bytes; `None` at its end.
    pub async fn next(&mut self) -> Option<Bytes> {
        // An agent that hangs up has ended.
        while let Some(Ok(frame)) = self.body.frame().await {
            match frame.into_data() {
                Ok(bytes) => return Some(bytes),
                Err(frame) => self.summary = frame.trailers_ref().and_then(summary),
            }
        }
        None
    }

    /// How it went, once it has ended; `None` if the agent ended before it.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }
}

fn summary(trailers: &http::HeaderMap) -> Option<String> {
    Some(trailers.get(SUMMARY)?.to_str().ok()?.to_owned())
}

/// Begins a capture.
///
/// # Errors
/// As `overview`; `AdminError::Refused` with the agent's words.
pub async fn capture(socket: &Path, question: &Question) -> Result<Capturing, AdminError> {
    let path = format!("{CAPTURE}?{}", question.query());
    let begun = async {
        let response = send(socket, Method::GET, &path).await?;
        if response.status().is_success() {
            return Ok(Capturing { body: response.into_body(), summary: None });
        }
        Err(AdminError::Refused {
            path: socket.to_owned(),
            words: words(response).await.trim_end().to_owned(),
        })
    };
    within(socket, CAPTURE_TIMEOUT, begun).await
}

/// Ends the capture under way.
///
/// # Errors
/// As `overview`.
pub async fn end_capture(socket: &Path) -> Result<(), AdminError> {
    ask(socket, Method::DELETE, CAPTURE).await.map(drop)
}

/// Its status is the answer: words that cannot be read are missed by people alone.
async fn ask(socket: &Path, method: Method, path: &str) -> Result<(StatusCode, String), AdminError> {
    let asked = async {
        let response = send(socket, method, path).await?;
        Ok((response.status(), words(response).await))
    };
    within(socket, TIMEOUT, asked).await
}

async fn send(socket: &Path, method: Method, path: &str) -> Result<Response<Incoming>, AdminError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| AdminError::Unreachable { path: socket.to_owned(), source })?;
    let failed = |source| AdminError::Answer { path: socket.to_owned(), source };
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "edgelb").header(TE, "trailers");
    let request = request.body(Empty::<Bytes>::new()).map_err(AdminError::Question)?;
    sender.send_request(request).await.map_err(failed)
}

async fn words(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default()
}

async fn within<T>(
    socket: &Path,
    time: Duration,
    asked: impl Future<Output = Result<T, AdminError>>,
) -> Result<T, AdminError> {
    let late = || AdminError::Timeout { path: socket.to_owned(), timeout: time };
    timeout(time, asked).await.unwrap_or_else(|_| Err(late()))
}
