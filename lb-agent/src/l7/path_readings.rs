//! What else a path may mean to a server. Some take `%2F` or `\` for a separator, some `//` for one, some cut `;...` off
//! a segment. Such a path is not changed, for others need it as it is (`/@scope%2Fname`); but it has to lead to the same
//! place in all its readings, or a rule that guards the one would be passed by with the other. Pure.

use std::borrow::Cow;

/// The other readings of a path, each more lenient than the one before.
pub(super) fn others(path: &str) -> impl Iterator<Item = String> {
    let is_plain = !path.bytes().any(|byte| matches!(byte, b'%' | b'\\' | b';')) && !path.contains("//");
    (!is_plain).then(|| readings(path)).into_iter().flatten()
}

fn readings(path: &str) -> impl Iterator<Item = String> {
    let separated = separated(path);
    let readings = [merged(path), merged(&separated), merged(&without_parameters(&separated))];
    let mut before = path.to_owned();
    readings.into_iter().filter(move |reading| {
        let is_new = *reading != before;
        before.clone_from(reading);
        is_new
    })
}

/// With a `/` for whatever some server takes for one, and its `;` for one that is encoded.
fn separated(path: &str) -> String {
    let mut read = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let (byte, length) = match rest.get(..3) {
            Some("%2f" | "%2F" | "%5c" | "%5C") => ('/', 3),
            Some("%3b" | "%3B") => (';', 3),
            _ if first == '\\' => ('/', 1),
            _ => (first, first.len_utf8()),
        };
        read.push(byte);
        rest = &rest[length..];
    }
    read
}

fn merged(path: &str) -> String {
    let mut read = Cow::from(path);
    while read.contains("//") {
        read = read.replace("//", "/").into();
    }
    read.into_owned()
}

fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_readings_that_servers_give_them() {
        for (path, expected) in [
            ("/", &[][..]),
            ("/a/b.html", &[]),
            ("/a%20b", &[]),
            ("*", &[]),
            ("/a//b", &["/a/b"]),
            ("////", &["/"]),
            ("/a%2Fb", &["/a/b"]),
            ("/a%2f%5cb", &["/a/b"]),
            ("/a\\b", &["/a/b"]),
            ("/a;x=1/b;y", &["/a/b"]),
            ("/a%3bx/b", &["/a;x/b", "/a/b"]),
            ("//a%2F\u{e9};x", &["/a%2F\u{e9};x", "/a/\u{e9};x", "/a/\u{e9}"]),
            ("/a%2", &[]),
            ("/a%252Fb", &[]),
        ] {
            assert_eq!(others(path).collect::<Vec<_>>(), expected, "{path}");
        }
    }
}
