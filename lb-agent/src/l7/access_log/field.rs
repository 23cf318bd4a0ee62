//! The fields of a line: names, and what they are of a record. Names stay the same from version to version.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Uri, Version};

use super::record::Record;
use crate::l7::outcome::Ended;

/// A field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::l7) enum Field {
    Time,
    RequestId,
    TraceId,
    Client,
    Listener,
    TlsVersion,
    Sni,
    Method,
    Host,
    Path,
    Protocol,
    Status,
    GrpcStatus,
    BytesIn,
    BytesOut,
    DurationMs,
    UpstreamMs,
    Namespace,
    Ingress,
    Service,
    Endpoint,
    Attempts,
    Blame,
    Reason,
    Complete,
}

/// What a field is.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::l7) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Milliseconds(Duration),
    Flag(bool),
}

impl Field {
    pub(in crate::l7) const ALL: [Self; 25] = [
        Self::Time,
        Self::RequestId,
        Self::TraceId,
        Self::Client,
        Self::Listener,
        Self::TlsVersion,
        Self::Sni,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::Protocol,
        Self::Status,
        Self::GrpcStatus,
        Self::BytesIn,
        Self::BytesOut,
        Self::DurationMs,
        Self::UpstreamMs,
        Self::Namespace,
        Self::Ingress,
        Self::Service,
        Self::Endpoint,
        Self::Attempts,
        Self::Blame,
        Self::Reason,
        Self::Complete,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::RequestId => "request_id",
            Self::TraceId => "trace_id",
            Self::Client => "client",
            Self::Listener => "listener",
            Self::TlsVersion => "tls_version",
            Self::Sni => "sni",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::GrpcStatus => "grpc_status",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::DurationMs => "duration_ms",
            Self::UpstreamMs => "upstream_ms",
            Self::Namespace => "namespace",
            Self::Ingress => "ingress",
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Attempts => "attempts",
            Self::Blame => "blame",
            Self::Reason => "reason",
            Self::Complete => "complete",
        }
    }

    /// Its name as an attribute of a span: OpenTelemetry's, where its conventions have one. `None` where spans say it
    /// otherwise.
    pub(in crate::l7) const fn attribute(self) -> Option<&'static str> {
        Some(match self {
            Self::Time | Self::TraceId | Self::DurationMs => return None,
            Self::RequestId => "edgelb.request_id",
            Self::Client => "client.address",
            Self::Listener => "edgelb.listener",
            Self::TlsVersion => "tls.protocol.version",
            Self::Sni => "tls.client.server_name",
            Self::Method => "http.request.method",
            Self::Host => "server.address",
            Self::Path => "url.path",
            Self::Protocol => "network.protocol.version",
            Self::Status => "http.response.status_code",
            Self::GrpcStatus => "rpc.grpc.status_code",
            Self::BytesIn => "http.request.body.size",
            Self::BytesOut => "http.response.body.size",
            Self::UpstreamMs => "edgelb.upstream_ms",
            Self::Namespace => "k8s.namespace.name",
            Self::Ingress => "edgelb.ingress",
            Self::Service => "edgelb.service",
            Self::Endpoint => "edgelb.endpoint",
            Self::Attempts => "edgelb.attempts",
            Self::Blame => "edgelb.blame",
            Self::Reason => "error.type",
            Self::Complete => "edgelb.complete",
        })
    }

    /// What it is of a record that ended at this time of day; `None` where there is nothing to say.
    pub(in crate::l7) fn of<'a>(self, record: &'a Record, time: &'a str) -> Option<Value<'a>> {
        let names = record.names.as_deref();
        Some(match self {
            Self::Time => text(time),
            Self::RequestId => of_header(&record.id),
            Self::TraceId => text(record.trace.as_deref()?),
            Self::Client => Value::Text(record.client.to_string().into()),
            Self::Listener => address(record.listener),
            Self::TlsVersion => text(record.session.as_deref()?.version),
            Self::Sni => text(record.session.as_deref()?.sni.as_deref()?),
            Self::Method => text(record.method.as_ref()?.as_str()),
            Self::Host => match (record.uri.as_ref().and_then(Uri::authority), &record.host) {
                (Some(authority), _) => text(authority.as_str()),
                (None, host) => of_header(host.as_ref()?),
            },
            Self::Path => text(record.uri.as_ref()?.path_and_query().map_or("", |path| path.as_str())),
            Self::Protocol => text(version(record.version?)),
            Self::Status => Value::Number(record.outcome.status.as_u16().into()),
            Self::GrpcStatus => Value::Number(record.outcome.call?.into()),
            Self::BytesIn => Value::Number(record.bytes_in),
            Self::BytesOut => Value::Number(record.bytes_out),
            Self::DurationMs => Value::Milliseconds(record.took),
            Self::UpstreamMs => Value::Milliseconds(record.upstream_time?),
            Self::Namespace => text(&names?.service.namespace),
            Self::Ingress => text(&names?.object.name),
            Self::Service => text(&names?.service.service),
            Self::Endpoint => address(record.endpoint?),
            Self::Attempts => Value::Number(record.attempts.into()),
            Self::Blame => text(record.outcome.blame()?.label()),
            Self::Reason => text(record.outcome.reason()?),
            Self::Complete => Value::Flag(record.outcome.ended == Ended::Whole),
        })
    }
}

impl Value<'_> {
    /// As JSON.
    pub(super) fn write_json(&self, line: &mut String) {
        match self {
            Self::Text(text) => line.push_str(&serde_json::Value::from(text.as_ref()).to_string()),
            plain => plain.write(line),
        }
    }

    /// In a template: what could end a field or a line is escaped.
    pub(super) fn write(&self, line: &mut String) {
        // Writing to a String does not fail.
        _ = match self {
            Self::Text(text) => {
                text.chars().for_each(|character| escape(character, line));
                Ok(())
            }
            Self::Number(number) => write!(line, "{number}"),
            Self::Milliseconds(time) => {
                write!(line, "{}.{:03}", time.as_millis(), time.subsec_micros() % 1000)
            }
            Self::Flag(flag) => write!(line, "{flag}"),
        };
    }
}

fn escape(character: char, line: &mut String) {
    match character {
        '"' | '\\' => line.extend(['\\', character]),
        control if control.is_control() => _ = write!(line, "\\x{:02x}", u32::from(control)),
        plain => line.push(plain),
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn address(address: SocketAddr) -> Value<'static> {
    Value::Text(address.to_string().into())
}

fn of_header(value: &HeaderValue) -> Value<'_> {
    Value::Text(String::from_utf8_lossy(value.as_bytes()))
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
