//! A file -> its documents, by text alone: each is parsed by itself, so that what did not change need not be
//! parsed again.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// A document's place in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Document<'a> {
    /// The line on which its text starts, from 1: that of its first content.
    pub(super) line: usize,
    /// Its text, without the `---`.
    pub(super) text: &'a str,
}

/// Which text: equal for equal texts, and for no others that anyone will meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct TextId(u128);

impl Document<'_> {
    /// The identity of its text.
    pub(super) fn id(&self) -> TextId {
        let mut hasher = SipHasher13::new();
        hasher.write(self.text.as_bytes());
        TextId(hasher.finish128().as_u128())
    }
}

/// The documents of a file: what stands between lines that start with `---` or `...`, which YAML allows nowhere else.
/// Those of comments and directives only are left out.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut offset, mut first_line) = (0, 0, 1);
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if is_separator(line) {
            documents.push(Document { line: first_line, text: &text[start..offset] });
            // What follows the marker on its line is content: `--- {kind: Node}`.
            (start, first_line) = (offset + 3, at + 1);
        }
        offset += line.len();
    }
    documents.push(Document { line: first_line, text: &text[start..] });
    documents.into_iter().filter_map(trimmed).collect()
}

fn is_separator(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Without the blank, comment and directive lines before its content; `None` if there is no content.
fn trimmed(document: Document<'_>) -> Option<Document<'_>> {
    let Document { mut line, mut text } = document;
    for next in text.split_inclusive('\n') {
        let content = next.trim_start_matches('\u{feff}').trim();
        if !(content.is_empty() || content.starts_with(['#', '%'])) {
            return Some(Document { line, text });
        }
        line += 1;
        text = &text[next.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str)]) {
        let found: Vec<_> = split(text).iter().map(|document| (document.line, document.text)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn files_are_split_at_document_markers() {
        check("", &[]);
        check("# nothing\n---\n\n---\n", &[]);
        check("a: 1\n", &[(1, "a: 1\n")]);
        check("---\na: 1\n---\nb: 2", &[(2, "a: 1\n"), (4, "b: 2")]);
        check("a: 1\r\n---\r\nb: 2\r\n", &[(1, "a: 1\r\n"), (3, "b: 2\r\n")]);
        check("%YAML 1.2\n---\n# why\n\na: 1\n", &[(5, "a: 1\n")]);
        check("--- {a: 1}\n--- {b: 2}\n", &[(1, " {a: 1}\n"), (2, " {b: 2}\n")]);
        check("a: 1\n...\n---\nb: 2\n...\n", &[(1, "a: 1\n"), (4, "b: 2\n")]);
        check("a: 1\n...\nb: 2\n", &[(1, "a: 1\n"), (3, "b: 2\n")]);
        // Not markers: indented in a block scalar, longer, not at the start of the line.
        check("a: |\n  ---\n  x\n----: 1\n", &[(1, "a: |\n  ---\n  x\n----: 1\n")]);
    }

    #[test]
    fn equal_texts_have_equal_ids() {
        let both = split("a: 1\n---\na: 1\n---\na: 2\n");
        assert_eq!(both[0].id(), both[1].id());
        assert_ne!(both[1].id(), both[2].id());
    }
}
