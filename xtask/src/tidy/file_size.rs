//! A file has at most 500 lines of code: blank lines, comments and the tests at its end not counted.

use super::{
    rust_text::RustText,
    text::{Finding, Text},
};

const MOST: usize = 500;

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    texts.iter().filter(|text| text.is_rust()).filter_map(in_file).collect()
}

fn in_file(text: &Text) -> Option<Finding> {
    let rust = RustText::read(&text.text);
    let lines = rust.lines_before_tests().filter(|(_, line)| !line.trim().is_empty()).count();
    (lines > MOST).then(|| Finding::new(text, 1, format!("{lines} lines of code, at most {MOST}")))
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, MOST, check};

    #[test]
    fn only_code_counts() {
        let code = "f();\n".repeat(MOST);
        assert!(findings(check, &[("a.rs", &format!("//! A.\n\n{code}#[cfg(test)]\n{code}"))]).is_empty());
        assert_eq!(findings(check, &[("a.rs", &format!("{code}f();\n"))]).len(), 1);
    }
}
