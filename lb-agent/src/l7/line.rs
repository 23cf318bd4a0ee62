//! Lines of an HTTP/1 message and what may stand in them. Pure.

use super::guard::Malformed;

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
        if !is_token(method) || target.is_empty() || target.contains(&b'\t') {
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
    if !is_token(name) {
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

/// The bytes of tokens (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"!#$%&'*+-.^_`|~";
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
};
