//! The proxy's own answers to gRPC calls: a client of gRPC reads `grpc-status`, and takes any other response for a broken
//! server.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::body::Body;
use super::outcome::Ended;
use super::reply::{Reply, X_REQUEST_ID};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const TYPE: &str = "application/grpc";

/// Codes of gRPC's `statuscodes.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// How a call ended: by its code, as OpenTelemetry sorts them (semantic conventions for gRPC, status of server spans).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallEnd {
    /// It has its answer.
    Ok,
    /// It was wrong, forbidden, given up, or came at a wrong time.
    Client,
    /// The server failed.
    Server,
}

impl CallEnd {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Client, Self::Server];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Client => "client_error",
            Self::Server => "server_error",
        }
    }

    /// By the code: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, and what is no code, are
    /// failures of the server.
    pub(super) const fn of(code: u16) -> Self {
        match code {
            0 => Self::Ok,
            1 | 3 | 5..=11 | 16 => Self::Client,
            _ => Self::Server,
        }
    }
}

/// The code of a call, in trailers, or in a head that has all.
pub(super) fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// What a client takes a response for that has no code, by gRPC's `http-grpc-status-mapping.md`.
pub(super) fn code_of_status(status: StatusCode) -> u16 {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    code as u16
}

/// What a client takes a call for that ended before it had a code: a stream that is reset is an INTERNAL error to it.
pub(super) const fn code_of_end(ended: Ended) -> u16 {
    let code = match ended {
        Ended::LeftByClient => Code::Cancelled,
        Ended::CutByUs => Code::Unavailable,
        Ended::BrokenByUpstream | Ended::StalledByUpstream | Ended::Whole => Code::Internal,
    };
    code as u16
}

/// Whether the head of a response says all of a call, and that its server is unavailable: what is 503 in HTTP.
pub(super) fn is_unavailable(headers: &HeaderMap) -> bool {
    status(headers) == Some(Code::Unavailable as u16)
}

/// Whether a request is a call, by gRPC's `PROTOCOL-HTTP2.md`.
pub(super) fn is_call(parts: &Parts) -> bool {
    parts.version == Version::HTTP_2
        && parts.headers.get(CONTENT_TYPE).is_some_and(|value| {
            let rest = value.as_bytes().strip_prefix(TYPE.as_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

/// How long a call may take, by its own word. The units of gRPC's `PROTOCOL-HTTP2.md`, and eight digits at most.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_plain = (1..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_plain)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The response to a call with this id: headers that are trailers too (`Trailers-Only`).
pub(super) fn response(reply: Reply, request_id: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TYPE));
    headers.insert(GRPC_STATUS, HeaderValue::from(code(reply) as u16));
    // None of the texts has a character that would have to be escaped here.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reply.text().trim_ascii_end()));
    headers.insert(X_REQUEST_ID, request_id);
    response
}

/// By gRPC's `http-grpc-status-mapping.md`. It takes a 504 for UNAVAILABLE, which clients may send again: but here it is
/// known that an endpoint has the call.
const fn code(reply: Reply) -> Code {
    match reply {
        Reply::BadHost | Reply::BadPath | Reply::AmbiguousPath | Reply::BadBody | Reply::Malformed => {
            Code::Internal
        }
        Reply::NoRoute => Code::Unimplemented,
        Reply::Overloaded
        | Reply::EndpointsBusy
        | Reply::Unavailable
        | Reply::ConnectFailed
        | Reply::BadResponse => Code::Unavailable,
        Reply::ResponseTimeout => Code::DeadlineExceeded,
        Reply::SlowHead
        | Reply::SlowBody
        | Reply::HeadTooLarge
        | Reply::TargetTooLong
        | Reply::ConnectRefused
        | Reply::Misdirected
        | Reply::Unsupported => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_call_is_told_by_its_type() {
        for (version, value, expected) in [
            (Version::HTTP_2, "application/grpc", true),
            (Version::HTTP_2, "application/grpc+proto", true),
            (Version::HTTP_2, "application/grpc;x=y", true),
            (Version::HTTP_2, "application/grpc-web", false),
            (Version::HTTP_2, "application/json", false),
            (Version::HTTP_11, "application/grpc", false),
        ] {
            let request = Request::builder().version(version).header(CONTENT_TYPE, value);
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            assert_eq!(is_call(&parts), expected, "{version:?} {value}");
        }
    }

    #[test]
    fn a_calls_code_says_whose_failure_it_is() {
        let ends = (0..18).map(|code| match CallEnd::of(code) {
            CallEnd::Ok => 'o',
            CallEnd::Client => 'c',
            CallEnd::Server => 's',
        });
        assert_eq!(ends.collect::<String>(), "ocscscccccccsssscs");
        let told = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("14"))]);
        assert_eq!((status(&told), status(&HeaderMap::new())), (Some(14), None));
        assert!(is_unavailable(&told) && !is_unavailable(&HeaderMap::new()));
    }

    #[test]
    fn what_has_no_code_has_that_of_its_end() {
        let by_status = |status| code_of_status(StatusCode::from_u16(status).expect("a status"));
        let found = [200, 400, 401, 403, 404, 429, 500, 503].map(by_status);
        assert_eq!(found, [2, 13, 16, 7, 12, 14, 2, 14]);
        let ends = [Ended::LeftByClient, Ended::CutByUs, Ended::BrokenByUpstream].map(code_of_end);
        assert_eq!(ends, [1, 14, 13]);
    }

    #[test]
    fn a_call_says_how_long_it_may_take() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("2S", seconds(2)),
            ("3M", seconds(180)),
            ("99999999H", seconds(99_999_999 * 3600)),
            ("5000m", seconds(5)),
            ("1u", Some(Duration::from_micros(1))),
            ("7n", Some(Duration::from_nanos(7))),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text));
            assert_eq!(timeout(&headers), expected, "{text}");
        }
        for text in ["", "S", "2", "-1S", "+1S", "1s", "123456789S", "1.5S"] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text));
            assert_eq!(timeout(&headers), None, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn every_reply_has_a_code_and_a_message() {
        for reply in Reply::ALL {
            let expected = match reply.status().as_u16() {
                400 => Code::Internal,
                404 => Code::Unimplemented,
                502 | 503 => Code::Unavailable,
                504 => Code::DeadlineExceeded,
                _ => Code::Unknown,
            };
            assert_eq!(code(reply), expected, "{reply:?}");
            let response = response(reply, HeaderValue::from_static("7"));
            let message = response.headers()[GRPC_MESSAGE].as_bytes();
            assert!(message.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'%'), "{reply:?}");
        }
    }
}
