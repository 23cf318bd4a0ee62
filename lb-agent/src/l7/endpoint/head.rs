//! The head of a response, and what it says of its body and of its connection (RFC 9112 section 6.3). Pure.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::{Error, ParserConfig, Status};

use super::framing::Framing;
use crate::l7::breach::Breach;
use crate::l7::{headers, line};

/// Largest head of a response.
const MOST: usize = 32 * 1024;

/// Most headers of one.
const MOST_HEADERS: usize = 100;

/// A response without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// Whether the connection outlives the response.
    pub(super) keeps_alive: bool,
    /// For how long without another one, if the endpoint says so: in seconds.
    pub(super) keeps_for: Option<u64>,
}

impl Head {
    /// Whether what follows is no HTTP any more.
    pub(super) fn switches(&self) -> bool {
        self.response.status() == StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Takes a head out of what came, if it is whole; of a response to HEAD, or to another method. Its headers come into an
/// empty map that is at hand.
pub(super) fn parse(
    received: &mut BytesMut,
    is_head: bool,
    spare: &mut HeaderMap,
) -> Result<Option<Head>, Breach> {
    match end(received) {
        // However it comes: in one piece or byte by byte.
        Some(MOST..) => with_parsed(&received[..MOST], |_| Err(Breach::LargeHead)),
        Some(end) => read(&received.split_to(end).freeze(), is_head, std::mem::take(spare)).map(Some),
        None if received.is_empty() => Ok(None),
        // What is no head need not be waited for.
        None => {
            with_parsed(received, |_| if received.len() < MOST { Ok(None) } else { Err(Breach::LargeHead) })
        }
    }
}

/// Where an empty line ends it. There are endpoints that end lines with LF alone.
fn end(received: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', received).find_map(|at| match received[at + 1..] {
        [b'\r', b'\n', ..] => Some(at + 3),
        [b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

fn with_parsed<T>(
    bytes: &[u8],
    use_it: impl FnOnce(Option<httparse::Response<'_, '_>>) -> Result<T, Breach>,
) -> Result<T, Breach> {
    let mut lines = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut lines) {
        Ok(Status::Complete(_)) => use_it(Some(parsed)),
        Ok(Status::Partial) => use_it(None),
        Err(Error::TooManyHeaders) => Err(Breach::LargeHead),
        Err(_) => Err(Breach::MalformedHead),
    }
}

fn read(bytes: &Bytes, is_head: bool, headers: HeaderMap) -> Result<Head, Breach> {
    let mut response = with_parsed(bytes, |parsed| {
        parsed.and_then(|parsed| response(bytes, parsed, headers)).ok_or(Breach::MalformedHead)
    })?;
    let framing = framing(&mut response, is_head)?;
    let keeps_alive = framing != Framing::UntilClose && keeps_alive(&response);
    let keeps_for = if keeps_alive { keeps_for(response.headers()) } else { None };
    Ok(Head { response, framing, keeps_alive, keeps_for })
}

fn response(
    bytes: &Bytes,
    parsed: httparse::Response<'_, '_>,
    mut headers: HeaderMap,
) -> Option<Response<()>> {
    let httparse::Response { version, code, headers: lines, .. } = parsed;
    headers.reserve(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).ok()?);
    }
    let mut response = Response::new(());
    *response.status_mut() = code?.try_into().ok()?;
    *response.version_mut() = if version? == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    *response.headers_mut() = headers;
    Some(response)
}

/// How the body is framed. What could be read in two ways is refused.
fn framing(response: &mut Response<()>, is_head: bool) -> Result<Framing, Breach> {
    let (status, version) = (response.status(), response.version());
    let headers = response.headers_mut();
    let has_none = is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = length(headers)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    // No others were asked for (TE), and without the header a client would take what is coded for the content itself.
    let is_one = codings.next().is_none();
    Ok(match coding {
        Some(_) if version == Version::HTTP_10 || !is_one => return Err(Breach::MalformedHead),
        _ if has_none => Framing::None,
        Some(coding) if is_coding(coding, b"chunked") => Framing::Chunks(Box::default()),
        // Of RFC 2616: there is none.
        Some(coding) if is_coding(coding, b"identity") => Framing::UntilClose,
        Some(_) => return Err(Breach::MalformedHead),
        None => match length {
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        },
    })
}

/// The Content-Length, said once: some say the same several times.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Breach> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    if let (None, Ok(length)) = (lengths.next(), line::length(first.as_bytes())) {
        return Ok(Some(length));
    }
    let mut all =
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let same = all.try_fold(None, |same: Option<u64>, one| {
        let length = line::length(one.trim_ascii()).ok()?;
        same.is_none_or(|same| same == length).then_some(Some(length))
    });
    let length = same.flatten().ok_or(Breach::MalformedHead)?;
    headers.insert(CONTENT_LENGTH, length.into());
    Ok(Some(length))
}

fn is_coding(value: &HeaderValue, coding: &[u8]) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(coding)
}

fn keeps_alive(response: &Response<()>) -> bool {
    let headers = response.headers();
    match response.version() {
        Version::HTTP_10 => headers::has_token(headers, &CONNECTION, "keep-alive"),
        _ => !headers.contains_key(CONNECTION) || !headers::has_token(headers, &CONNECTION, "close"),
    }
}

/// `Keep-Alive: timeout=5, max=100`, as Node and Apache say it.
fn keeps_for(headers: &HeaderMap) -> Option<u64> {
    // Asked of each response: a map of headers is asked by hash, and this by length.
    let (_, value) = headers.iter().find(|(name, _)| **name == headers::KEEP_ALIVE)?;
    let mut parts = value.to_str().ok()?.split(',').filter_map(|part| part.split_once('='));
    parts.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_how_long_it_keeps_a_connection() {
        for (value, expected) in [
            ("timeout=5", Some(5)),
            ("Timeout = 72, max=1000", Some(72)),
            ("max=1000, timeout=0", Some(0)),
            ("max=1000", None),
            ("timeout=-1", None),
            ("timeout", None),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\ncontent-length: 0\r\n\r\n");
            let head = parse(&mut BytesMut::from(&*head), false, &mut HeaderMap::new());
            assert_eq!(head.map(|head| head.and_then(|head| head.keeps_for)), Ok(expected), "{value}");
        }
    }

    fn parsed(head: &str, is_head: bool) -> Result<Option<(u16, Framing, bool)>, Breach> {
        let mut received = BytesMut::from(head);
        let found = parse(&mut received, is_head, &mut HeaderMap::new())?;
        Ok(found.map(|head| (head.response.status().as_u16(), head.framing, head.keeps_alive)))
    }

    #[test]
    fn a_head_says_how_its_body_is_framed_and_whether_another_may_follow() {
        let chunks = || Framing::Chunks(Box::default());
        for (head, status, framing, keeps_alive) in [
            ("1.1 200 OK\r\ncontent-length: 4", 200, Framing::Length(4), true),
            ("1.1 200\r\ncontent-length: 4, 4", 200, Framing::Length(4), true),
            ("1.1 200 OK\r\ncontent-length: 4\r\nContent-Length: 4", 200, Framing::Length(4), true),
            ("1.1 200 OK\r\ncontent-length: 0", 200, Framing::None, true),
            ("1.1 200 OK\r\ncontent-length: 4\r\nconnection: x, Close", 200, Framing::Length(4), false),
            ("1.0 200 OK\r\ncontent-length: 4", 200, Framing::Length(4), false),
            ("1.0 200 OK\r\ncontent-length: 4\r\nconnection: keep-alive", 200, Framing::Length(4), true),
            ("1.1 200 OK\r\ntransfer-encoding: Chunked\r\ncontent-length: 4", 200, chunks(), true),
            ("1.1 200 OK\r\ntransfer-encoding: identity", 200, Framing::UntilClose, false),
            ("1.1 200 OK", 200, Framing::UntilClose, false),
            ("1.1 204 No Content\r\ncontent-length: 4", 204, Framing::None, true),
            ("1.1 304 Not Modified\r\ncontent-length: 4", 304, Framing::None, true),
            ("1.1 103 Early Hints", 103, Framing::None, true),
        ] {
            for end in ["\r\n", "\n"] {
                let head = format!("HTTP/{head}\r\n\r\n").replace("\r\n", end);
                assert_eq!(
                    parsed(&head, false),
                    Ok(Some((status, framing_of(&framing), keeps_alive))),
                    "{head:?}"
                );
            }
        }
        assert_eq!(
            parsed("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", true),
            Ok(Some((200, Framing::None, true)))
        );
    }

    /// They are no values to be copied elsewhere.
    fn framing_of(framing: &Framing) -> Framing {
        match framing {
            Framing::None => Framing::None,
            Framing::Length(length) => Framing::Length(*length),
            Framing::Chunks(_) => Framing::Chunks(Box::default()),
            Framing::UntilClose => Framing::UntilClose,
        }
    }

    #[test]
    fn what_is_no_head_is_refused_as_soon_as_it_shows() {
        for head in [
            "SSH-2.0",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 abc\r\n",
            "HTTP/1.1 099 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n z",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(parsed(head, false), Err(Breach::MalformedHead), "{head:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(parsed(&many, false), Err(Breach::LargeHead));
        for (length, expected) in [(MOST - 1, true), (MOST, false), (60_000, false)] {
            let begin = "HTTP/1.1 204 No Content\r\nx: ";
            let head = format!("{begin}{}\r\n\r\n", "y".repeat(length - begin.len() - 4));
            let whole = parsed(&head, false);
            assert_eq!(whole.is_ok(), expected, "{length}: {whole:?}");
            let first = parsed(&head[..length.min(MOST)], false);
            assert_eq!(first.is_ok(), expected, "{length}, not read to its end: {first:?}");
        }
        for part in ["", "H", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nx: y\r\n", "HTTP/1.1 200 OK\r\n\r"] {
            assert_eq!(parsed(part, false), Ok(None), "{part:?}");
        }
    }

    #[test]
    fn what_follows_a_head_stays() {
        let mut received =
            BytesMut::from("HTTP/1.1 200 OK\r\nA: b\r\na: c\r\ncontent-length: 3, 3\r\n\r\nabc");
        let head = parse(&mut received, false, &mut HeaderMap::new()).expect("a head").expect("a whole one");
        assert_eq!(&received[..], b"abc");
        let headers = head.response.headers();
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(headers["content-length"], "3");
    }
}
