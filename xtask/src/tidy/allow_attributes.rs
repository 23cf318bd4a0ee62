//! A lint is silenced by `#[expect(lint, reason = "...")]`, which complains when it has become needless.

use super::{
    rust_text::RustText,
    text::{Finding, Text},
};

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    texts.iter().filter(|text| text.is_rust()).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let rust = RustText::read(&text.text);
    let silenced = rust.lines().filter(|(_, line)| line.contains("#[allow(") || line.contains("#![allow("));
    silenced.map(|(line, _)| Finding::new(text, line, "use `#[expect(lint, reason = ...)]`")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn bare_allows_are_found() {
        assert_eq!(findings(check, &[("a.rs", "#[allow(dead_code)]\n")]).len(), 1);
        assert_eq!(findings(check, &[("a.rs", "#![allow(dead_code)]\n")]).len(), 1);
        assert!(
            findings(check, &[("a.rs", "#[expect(dead_code, reason = \"x\")] // #[allow(x)]\n")]).is_empty()
        );
    }
}
