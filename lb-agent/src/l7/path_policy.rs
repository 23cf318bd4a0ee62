//! Which request paths are refused. The same bytes are matched and forwarded, so a path that a backend could read as
//! another one than the router did would pass by the rules that were meant for it.

/// Whether a path is free of NUL, control bytes and dot segments, also of encoded ones.
pub(super) fn is_safe(path: &str) -> bool {
    let bytes = path.as_bytes();
    // Nearly every path: nothing that needs a second look.
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'.' | 0..=0x1f | 0x7f)) {
        return true;
    }
    !has_control_byte(bytes) && !has_dot_segment(bytes)
}

fn has_control_byte(path: &[u8]) -> bool {
    path.iter().any(u8::is_ascii_control) || path.windows(3).any(|window| window == b"%00")
}

/// What some server takes for the end of a segment counts as one: `/..%2f`, `/..\`, `/..;x`.
fn has_dot_segment(path: &[u8]) -> bool {
    let mut at_start = false;
    let mut rest = path;
    while let Some((byte, after)) = decode_first(rest) {
        if at_start && byte == b'.' && dots_end_here(after) {
            return true;
        }
        at_start = is_separator(byte);
        rest = after;
    }
    false
}

/// After the first dot of a segment: whether at most one more dot follows before its end.
fn dots_end_here(after: &[u8]) -> bool {
    let ends = |rest: &[u8]| decode_first(rest).is_none_or(|(byte, _)| is_separator(byte) || byte == b';');
    ends(after) || matches!(decode_first(after), Some((b'.', rest)) if ends(rest))
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// The first byte with its percent-encoding undone, and what follows it.
fn decode_first(path: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'%', high, low, rest @ ..] = path
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, rest));
    }
    path.split_first().map(|(byte, rest)| (*byte, rest))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_two_servers_could_read_differently_is_refused() {
        for (path, safe) in [
            ("/", true),
            ("*", true),
            ("/a/b.html", true),
            ("/.well-known/acme", true),
            ("/a/...", true),
            ("/a..b/..c", true),
            ("/a%20b%2Fc", true),
            ("/100%", true),
            ("/%zz", true),
            ("/é", true),
            ("/.", false),
            ("/..", false),
            ("/a/../b", false),
            ("/a/./b", false),
            ("/a/%2e%2E/b", false),
            ("/a/.%2e", false),
            ("/a/..%2fb", false),
            ("/a%2f..%2fb", false),
            ("/a/..\\b", false),
            ("/a/..;x/b", false),
            ("/a%00", false),
            ("/a\u{1}", false),
            ("/a\u{7f}", false),
        ] {
            assert_eq!(is_safe(path), safe, "{path:?}");
        }
    }
}
