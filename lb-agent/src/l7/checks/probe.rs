//! One check: a connection of its own, a GET, and the status that comes back.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Subject;
use crate::l7::secured::{EndpointStream, Secured};
use crate::l7::send_proxy;
use crate::l7::shortage::Shortage;
use crate::model::CheckResult;

/// So much of a response's body is read, so that its sender is not cut off in the middle of it.
const BODY: usize = 64 * 1024;

const AGENT: HeaderValue = HeaderValue::from_static("edgelb-health-check");

type Get = Request<Empty<Bytes>>;

/// What an endpoint says; nothing is known where it could not be asked for want of something here.
pub(super) async fn probe(subject: &Subject, secured: &Secured) -> CheckResult {
    let check = &subject.check;
    timeout(check.timeout, ask(subject, secured)).await.unwrap_or(CheckResult::TimeOut)
}

async fn ask(subject: &Subject, secured: &Secured) -> CheckResult {
    let connected = send_proxy::connect(subject.address, &subject.protocol, None).await;
    let stream = match connected {
        Ok(stream) => stream,
        // It was not asked.
        Err(error) if Shortage::of(&error).is_some() => return CheckResult::Unknown,
        Err(_) => return CheckResult::Connect,
    };
    let Ok(stream) = secured.secure(&subject.protocol, stream).await else { return CheckResult::Connect };
    let Some(request) = request(subject) else { return CheckResult::Broken };
    // Its tasks end with it.
    let mut tasks = JoinSet::new();
    let answered = match subject.protocol.is_http2 {
        true => over_http2(stream, request, &mut tasks).await,
        false => over_http1(stream, request, &mut tasks).await,
    };
    let Ok(response) = answered else { return CheckResult::Broken };
    let status = response.status().as_u16();
    _ = Limited::new(response.into_body(), BODY).collect().await;
    if subject.check.status.contains(&status) { CheckResult::Passed } else { CheckResult::Status(status) }
}

async fn over_http1(
    stream: EndpointStream,
    mut request: Get,
    tasks: &mut JoinSet<()>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tasks.spawn(async { drop(connection.await) });
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    sender.send_request(request).await
}

async fn over_http2(
    stream: EndpointStream,
    mut request: Get,
    tasks: &mut JoinSet<()>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tasks.spawn(async { drop(connection.await) });
    request.headers_mut().remove(HOST);
    sender.send_request(request).await
}

/// With its target as HTTP/2 has it, and the Host of HTTP/1.1.
fn request(subject: &Subject) -> Option<Get> {
    let check = &subject.check;
    let host = match &check.host {
        Some(host) => host.to_string(),
        None => subject.address.to_string(),
    };
    let scheme = if subject.protocol.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let target = Uri::builder().scheme(scheme).authority(host.as_str()).path_and_query(check.path.clone());
    let request = Request::get(target.build().ok()?).header(HOST, host).header(USER_AGENT, AGENT);
    request.body(Empty::<Bytes>::new()).ok()
}
