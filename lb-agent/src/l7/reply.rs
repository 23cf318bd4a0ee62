//! Every status code that the proxy invents, with its text and its metric label. No other file makes one; how it is written
//! down for the client is in `form`.

mod form;

use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderName, HeaderValue, Response, StatusCode};

pub(super) use self::form::Form;
use super::body::Body;
use super::outcome::Ended;
use crate::model::Unavailable;

/// The header that names a request in replies, to backends and in logs.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a CONNECT gets when its tunnel is there (RFC 8441 section 5): the endpoint said it with a status of HTTP/1.1.
pub(super) const CONNECTED: StatusCode = StatusCode::OK;
/// The body of a request is wanted.
pub(super) const CONTINUE: StatusCode = StatusCode::CONTINUE;

/// What stands for the status of a response that never began: to users of nginx, 499 says that the client has gone.
pub(super) fn status_without_response(ended: Ended) -> StatusCode {
    match ended {
        Ended::LeftByClient => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Ended::BrokenByUpstream | Ended::StalledByUpstream => StatusCode::BAD_GATEWAY,
        Ended::CutByUs | Ended::Whole => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Why the proxy answers by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reply {
    /// The Host header is missing, doubled, contradicts the request line, or is no host.
    BadHost,
    /// The path has dot segments, NUL or control bytes: backend and router could read it differently.
    BadPath,
    /// The path leads to different backends, as servers read it.
    AmbiguousPath,
    /// The request's body broke off, its chunks are malformed, or it is coded otherwise than in chunks.
    BadBody,
    /// The request's line and headers did not come in time.
    SlowHead,
    /// The request's body did not come in time.
    SlowBody,
    /// The request breaks the rules of its protocol; see `Malformed` and `Limit`.
    Malformed,
    /// The request has too many headers, or too long ones.
    HeadTooLarge,
    /// The request's target is too long.
    TargetTooLong,
    /// CONNECT: this is not a forward proxy.
    ConnectRefused,
    /// The host has other certificates than the one that the client asked for when it connected.
    Misdirected,
    /// No rule and no default backend for this host and path.
    NoRoute,
    /// The backend cannot take requests; see `Unavailable`.
    Unavailable,
    /// The Ingress asks for a kind of backend, or a protocol, that nothing implements.
    Unsupported,
    /// No endpoint accepts connections.
    ConnectFailed,
    /// The endpoint closed the connection, or sent what is not HTTP, instead of a response.
    BadResponse,
    /// The endpoint did not begin its response in time.
    ResponseTimeout,
    /// Each endpoint has as many requests as it may have; see `Limit`.
    EndpointsBusy,
    /// Time, memory or places for connections run short, or what connections to endpoints take; see `Limit` and `Shortage`.
    Overloaded,
}

/// Who is at fault when a request does not end well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// It asked for what it must not, or for what is not there, or went away.
    Client,
    /// The backend.
    Upstream,
    /// The proxy, or whoever set it up.
    Us,
}

impl Blame {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 3] = [Self::Client, Self::Upstream, Self::Us];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Us => "us",
        }
    }
}

impl Reply {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 19] = [
        Self::BadHost,
        Self::BadPath,
        Self::AmbiguousPath,
        Self::BadBody,
        Self::SlowHead,
        Self::SlowBody,
        Self::Malformed,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::ConnectRefused,
        Self::Misdirected,
        Self::NoRoute,
        Self::Unavailable,
        Self::Unsupported,
        Self::ConnectFailed,
        Self::BadResponse,
        Self::ResponseTimeout,
        Self::EndpointsBusy,
        Self::Overloaded,
    ];

    /// The status code.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadPath | Self::AmbiguousPath | Self::BadBody | Self::Malformed => {
                StatusCode::BAD_REQUEST
            }
            Self::SlowHead | Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::ConnectRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unsupported => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ConnectFailed | Self::BadResponse => StatusCode::BAD_GATEWAY,
            Self::Unavailable | Self::EndpointsBusy | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::BadPath => "bad_path",
            Self::AmbiguousPath => "ambiguous_path",
            Self::BadBody => "bad_body",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::ConnectRefused => "connect_refused",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::ConnectFailed => "connect_failed",
            Self::BadResponse => "bad_response",
            Self::ResponseTimeout => "response_timeout",
            Self::EndpointsBusy => "endpoints_busy",
            Self::Overloaded => "overloaded",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::BadHost
            | Self::BadPath
            | Self::AmbiguousPath
            | Self::BadBody
            | Self::SlowHead
            | Self::SlowBody
            | Self::Malformed
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::ConnectRefused
            | Self::Misdirected
            | Self::NoRoute => Blame::Client,
            Self::Unavailable
            | Self::ConnectFailed
            | Self::BadResponse
            | Self::ResponseTimeout
            | Self::EndpointsBusy => Blame::Upstream,
            Self::Unsupported | Self::Overloaded => Blame::Us,
        }
    }

    /// The body, for people; it tells nothing about what is behind the proxy.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::BadHost => "400 bad request: missing, repeated or malformed Host\n",
            Self::BadPath => "400 bad request: dot segments or control bytes in the path\n",
            Self::AmbiguousPath => {
                "400 bad request: the path has two readings, which lead to different places\n"
            }
            Self::BadBody => "400 bad request: the body broke off or is malformed\n",
            Self::SlowHead => "408 request timeout: the headers did not come in time\n",
            Self::SlowBody => "408 request timeout: the body did not come in time\n",
            Self::Malformed => "400 bad request: the request is malformed\n",
            Self::HeadTooLarge => "431 request header fields too large\n",
            Self::TargetTooLong => "414 URI too long\n",
            Self::ConnectRefused => "405 method not allowed: CONNECT\n",
            Self::Misdirected => "421 misdirected request: this host needs a connection of its own\n",
            Self::NoRoute => "404 not found: no route for this host and path\n",
            Self::Unavailable => "503 service unavailable: no endpoint is ready\n",
            Self::Unsupported => "500 internal server error: the route's kind of backend is not supported\n",
            Self::ConnectFailed => "502 bad gateway: no endpoint accepts connections\n",
            Self::BadResponse => "502 bad gateway: the endpoint broke off or did not speak HTTP\n",
            Self::ResponseTimeout => "504 gateway timeout: the endpoint did not respond in time\n",
            Self::EndpointsBusy => "503 service unavailable: all endpoints are busy, try again later\n",
            Self::Overloaded => "503 service unavailable: too much to do, try again later\n",
        }
    }

    /// The response to a request with this id, in this form.
    pub(super) fn response(self, form: Form, request_id: HeaderValue) -> Response<Body> {
        let mut response = Response::new(Body::text(form.body(self.status(), self.text(), &request_id)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, form.content_type());
        headers.insert(VARY, ACCEPT.into());
        headers.insert(X_REQUEST_ID, request_id);
        if self == Self::ConnectRefused {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if matches!(self, Self::EndpointsBusy | Self::Overloaded) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// The last response of an HTTP/1.1 connection, to a request that the HTTP library has not seen, as its bytes.
    pub(super) fn last_words(self, request_id: &HeaderValue) -> Vec<u8> {
        let status = self.status();
        let text = Form::Plain.body(status, self.text(), request_id);
        let reason = status.canonical_reason().unwrap_or_default();
        let id = String::from_utf8_lossy(request_id.as_bytes());
        format!(
            "HTTP/1.1 {code} {reason}\r\n{CONTENT_TYPE}: text/plain; charset=utf-8\r\n{CONTENT_LENGTH}: {length}\r\n\
             {X_REQUEST_ID}: {id}\r\n{CONNECTION}: close\r\n\r\n{text}",
            code = status.as_str(),
            length = text.len(),
        )
        .into_bytes()
    }
}

impl From<Unavailable> for Reply {
    fn from(reason: Unavailable) -> Self {
        match reason {
            Unavailable::Unsupported | Unavailable::UnknownProtocol => Self::Unsupported,
            Unavailable::NoService
            | Unavailable::NoPort
            | Unavailable::NoEndpoint
            | Unavailable::ExternalName
            | Unavailable::NoTrust => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_says_its_status_and_has_its_own_label() {
        for (index, reply) in Reply::ALL.into_iter().enumerate() {
            assert_eq!(reply as usize, index, "{reply:?} stands at its own index");
            assert!(reply.text().starts_with(reply.status().as_str()), "{reply:?}");
            assert_eq!(Reply::ALL.iter().filter(|other| other.label() == reply.label()).count(), 1);
        }
    }
}
