//! Every status code that the proxy invents stands in one file; the others only look at codes.

use super::{
    rust_text::RustText,
    text::{Finding, Text},
};

const OWNER: &str = "lb-agent/src/l7/reply.rs";
const STAGE: &str = "lb-agent/src/l7/";

/// A line with one of these compares a code; it makes none.
const COMPARES: [&str; 4] = ["==", "!=", "matches!(", "=>"];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let guarded = |text: &&Text| text.is_rust() && text.path.starts_with(STAGE) && text.path != OWNER;
    texts.iter().filter(guarded).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let rust = RustText::read(&text.text);
    let invented = rust.lines_before_tests().filter(|(_, line)| invents(line));
    invented
        .map(|(line, _)| Finding::new(text, line, format!("a status code belongs into {OWNER}")))
        .collect()
}

fn invents(line: &str) -> bool {
    names_a_code(line) && !COMPARES.iter().any(|compares| line.contains(compares))
}

/// `StatusCode::NOT_FOUND`, or a code from its number.
fn names_a_code(line: &str) -> bool {
    let mut uses = line.split("StatusCode::").skip(1);
    uses.any(|after| after.starts_with(|c: char| c.is_ascii_uppercase()) || after.starts_with("from_u16"))
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn invented_codes_are_found_and_comparisons_are_not() {
        let one = |line: &str| findings(check, &[("lb-agent/src/l7/forward.rs", line)]).len();
        assert_eq!(one("*response.status_mut() = StatusCode::BAD_GATEWAY;"), 1);
        assert_eq!(one("if status == StatusCode::SWITCHING_PROTOCOLS {"), 0);
        assert_eq!(one("use http::StatusCode;"), 0);
        assert!(findings(check, &[("lb-agent/src/l7/reply.rs", "StatusCode::NOT_FOUND")]).is_empty());
    }
}
