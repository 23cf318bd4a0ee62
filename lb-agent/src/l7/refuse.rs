//! Answers to what the HTTP library has not seen, because the guard stopped before it; and their place in the metrics.

use h2::Reason;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::access_log::Record;
use super::client::Client;
use super::guard::{Fault, Malformed};
use super::limits::Limit;
use super::reply::Reply;

/// Tells the client of a refused HTTP/1 request what is wrong; the connection is to be closed afterwards.
pub(super) async fn refuse(client: &Client, mut stream: impl AsyncWrite + Unpin, fault: Fault) {
    let reply = reply(fault);
    client.worker.metrics.reply(reply);
    client.worker.metrics.request(client.protocol, reply.status());
    let id = client.worker.ids.make();
    if let Some(log) = &client.worker.config.access_log {
        log.write(Record::refused(client, &id, reply));
    }
    let response = reply.last_words(&id);
    client.deadline.set(client.worker.config.head_time());
    // A client that is gone need not be told.
    _ = client.deadline.bound(stream.write_all(&response)).await;
}

/// Counts the limit in time that ends a connection on which no request is under way, if it is one.
pub(super) fn count_late(client: &Client) {
    client.late().into_iter().for_each(|limit| count(client, limit.into()));
}

/// Counts a head that was late, whatever else is under way.
pub(super) fn count_late_head(client: &Client) {
    if !client.worker.is_draining() {
        count(client, Limit::HeadTime.into());
    }
}

/// Counts why a connection was stopped, if it was: by the guard, by the HTTP library, or because the client did not read.
pub(super) fn count_all(client: &Client, by_library: Option<Fault>) {
    let slow = client.is_too_slow().then_some(Fault::Limit(Limit::DownloadRate));
    if let Some(fault) = client.passage.fault().or(by_library).or(slow) {
        count(client, fault);
    }
}

/// Counts one reason.
pub(super) fn count(client: &Client, fault: Fault) {
    client.worker.refusals.count(client.origin.peer(), fault);
}

/// What the HTTP library refused by itself on an HTTP/1 connection.
pub(super) fn by_http1(error: &hyper::Error) -> Option<Fault> {
    error.is_parse().then_some(Fault::Malformed(Malformed::Other))
}

/// What made the HTTP library end an HTTP/2 connection, but for limits: it does not say which, but to the client.
pub(super) fn by_http2(error: &h2::Error) -> Option<Fault> {
    match error.reason()? {
        _ if !error.is_go_away() || !error.is_library() => None,
        Reason::PROTOCOL_ERROR
        | Reason::FLOW_CONTROL_ERROR
        | Reason::STREAM_CLOSED
        | Reason::FRAME_SIZE_ERROR
        | Reason::COMPRESSION_ERROR => Some(Malformed::Http2Frame.into()),
        _ => None,
    }
}

/// Counts the messages that the HTTP library refused by itself on an HTTP/2 connection. The limit for which the connection ends,
/// if it met one.
pub(super) fn refused_by_http2(client: &Client) -> Option<Limit> {
    let refused = client.passage.refused();
    (0..refused.messages).for_each(|_| count(client, Malformed::Http2Message.into()));
    refused.limit
}

const fn reply(fault: Fault) -> Reply {
    match fault {
        Fault::Limit(Limit::HeadTime) => Reply::SlowHead,
        Fault::Limit(Limit::HeadBytes | Limit::Headers) => Reply::HeadTooLarge,
        Fault::Limit(Limit::TargetBytes) => Reply::TargetTooLong,
        Fault::Malformed(_) | Fault::Limit(_) => Reply::Malformed,
    }
}
