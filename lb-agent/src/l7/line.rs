//! Lines of an HTTP/1 message and what may stand in them. Pure.

use std::str;

use http::Uri;

use super::guard::Malformed;

/// Bytes of the longest name that the HTTP library has room for.
const LONGEST_NAME: usize = 65_535;

/// A line's text, without its end.
pub(super) fn text(line: &[u8]) -> Result<&[u8], Malformed> {
    let Some(text) = line.strip_suffix(b"\r\n") else { return Err(Malformed::BareLf) };
    // Without a way out of the loop it goes sixteen bytes at a time.
    let has_control = text.iter().fold(false, |found, byte| found | is_control(*byte));
    match has_control {
        false => Ok(text),
        true if text.contains(&b'\r') => Err(Malformed::BareCr),
        true => Err(Malformed::ControlByte),
    }
}

const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// A request line.
pub(super) struct RequestLine {
    /// Bytes of its target.
    pub(super) target: usize,
    /// Whether it is of HTTP/1.0.
    pub(super) is_old: bool,
}

impl RequestLine {
    /// From its text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut words = text.splitn(3, |byte| *byte == b' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(Malformed::RequestLine);
        };
        if !is_token(method) || !is_target(target) {
            return Err(Malformed::RequestLine);
        }
        let is_old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ if version.starts_with(b"HTTP/") && !version.contains(&b' ') => return Err(Malformed::Version),
            _ => return Err(Malformed::RequestLine),
        };
        Ok(Self { target: target.len(), is_old })
    }
}

/// A header's name and value, without the white space around it.
pub(super) fn header(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if let [b' ' | b'\t', ..] = text {
        return Err(Malformed::FoldedHeader);
    }
    let colon = memchr::memchr(b':', text).ok_or(Malformed::HeaderName)?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if !is_token(name) || name.len() > LONGEST_NAME {
        return Err(Malformed::HeaderName);
    }
    Ok((name, value.trim_ascii()))
}

/// A Content-Length.
pub(super) fn length(value: &[u8]) -> Result<u64, Malformed> {
    // Nineteen digits are less than 2^64.
    if !(1..=19).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::BadLength);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A chunk's size, and the bytes of its extensions.
pub(super) fn chunk(text: &[u8]) -> Result<(u64, usize), Malformed> {
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    let (digits, extensions) = text.split_at(end);
    if !(1..=15).contains(&digits.len()) {
        return Err(Malformed::ChunkSize);
    }
    let mut size = 0;
    for digit in digits {
        let value = char::from(*digit).to_digit(16).ok_or(Malformed::ChunkSize)?;
        size = size << 4 | u64::from(value);
    }
    Ok((size, extensions.len()))
}

/// Whether a trailer would change how the message is framed, or whom it is for (RFC 9110 section 6.5.1).
pub(super) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 6] =
        [b"content-length", b"transfer-encoding", b"host", b"connection", b"trailer", b"te"];
    FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

/// Whether a trailer goes no further: it is forbidden, or belongs to one connection (section 7.6.1 there).
pub(super) fn ends_here(name: &[u8]) -> bool {
    const OF_CONNECTION: [&[u8]; 3] = [b"keep-alive", b"proxy-connection", b"upgrade"];
    is_forbidden_trailer(name) || OF_CONNECTION.iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// Whether the HTTP library takes it for a target: what it refuses by itself, it refuses without a word of ours.
fn is_target(target: &[u8]) -> bool {
    let is_plain = target.first() == Some(&b'/') && target.iter().all(|byte| PLAIN[usize::from(*byte)]);
    // Nearly all are plain, and the library's own parser makes a copy.
    is_plain || str::from_utf8(target).is_ok_and(|target| target.parse::<Uri>().is_ok())
}

/// The bytes of tokens (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// Those of a path and a query (RFC 3986 section 2), which the HTTP library takes at any place.
const PLAIN: [bool; 256] = alphanumeric_and(b"!$%&'()*+,-./:;=?@[]_~");

const fn alphanumeric_and(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        table[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::{prop, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;

    fn parses(target: &[u8]) -> bool {
        RequestLine::parse(&[b"GET ", target, b" HTTP/1.1"].concat()).is_ok()
    }

    #[test]
    fn targets_that_the_library_refuses_are_refused_here() {
        for (target, expected) in [
            ("/", true),
            ("*", true),
            ("a.org:443", true),
            ("http://a.org", true),
            ("/a?b#c", true),
            ("/\u{e9}?\u{e9}", true),
            ("/{\"a\"}", true),
            ("/a<b", false),
            ("/a?b>c", false),
            ("/a`b", false),
            ("/a\tb", false),
            ("http:///a", false),
            ("?a", false),
            ("", false),
        ] {
            assert_eq!(parses(target.as_bytes()), expected, "{target}");
        }
        assert!(!parses(b"/\xff") && !parses(b"/a#\xff"), "no UTF-8");
    }

    #[test]
    fn no_byte_of_a_plain_target_is_refused_by_the_library_wherever_it_stands() {
        for byte in (0..=255_u8).filter(|byte| PLAIN[usize::from(*byte)]) {
            let byte = char::from(byte);
            for target in [
                format!("/{byte}"),
                format!("/{byte}{byte}a"),
                format!("/?{byte}{byte}"),
                format!("/a/b{byte}?c{byte}"),
            ] {
                assert!(target.parse::<Uri>().is_ok(), "{target}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_line_that_passes_is_one_for_the_library(
            method in prop::collection::vec(33..=255_u8, 1..4),
            target in prop::collection::vec(prop::sample::select(&b"/a?#:<>`^{}|\\\"[]@%*.1\xc3\xa9\xff\t\x00"[..]), 0..12),
        ) {
            prop_assert_eq!(parses(&[b"/", &target[..]].concat()), takes(&[b"/", &target[..]].concat()));
            prop_assert_eq!(parses(&target), takes(&target));
            if RequestLine::parse(&[&method[..], b" / HTTP/1.1"].concat()).is_ok() {
                prop_assert!(Method::from_bytes(&method).is_ok(), "{method:?}");
            }
        }
    }

    /// Whether the library's two parsers do: that of lines, which wants UTF-8, and that of targets.
    fn takes(target: &[u8]) -> bool {
        str::from_utf8(target).is_ok() && Uri::try_from(target).is_ok()
    }
}
