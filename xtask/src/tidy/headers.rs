//! Every Rust file says in its first line what lives in it.

use super::text::{Finding, Text};

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let without_header = |text: &&Text| text.is_rust() && !text.text.starts_with("//! ");
    texts
        .iter()
        .filter(without_header)
        .map(|text| Finding::new(text, 1, "the first line is not `//! ...`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(findings(check, &[("a.rs", "//! What lives here.\n"), ("b.md", "# B\n")]).is_empty());
        assert_eq!(findings(check, &[("a.rs", "use std::fs;\n")]).len(), 1);
    }
}
