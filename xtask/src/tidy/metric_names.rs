//! Every metric name stands in one folder.

use super::{
    rust_text::RustText,
    text::{Finding, Text},
};

const OWNER: &str = "lb-agent/src/metrics/";

/// What else starts like a metric: the names of our crates, in log filters.
const CRATES: [&str; 4] = ["lb_agent", "lb_common", "lb_ebpf", "lb_tests"];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let guarded = |text: &&Text| {
        text.is_rust() && text.path.starts_with("lb-agent/src/") && !text.path.starts_with(OWNER)
    };
    texts.iter().filter(guarded).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let rust = RustText::read(&text.text);
    let tests = rust.first_test_line();
    let names = rust.literals.iter().filter(|literal| literal.line < tests && is_metric(&literal.value));
    names
        .map(|name| Finding::new(text, name.line, format!("{:?} belongs into {OWNER}", name.value)))
        .collect()
}

fn is_metric(literal: &str) -> bool {
    literal.starts_with("lb_") && !CRATES.iter().any(|name| literal.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn names_outside_of_the_owner_are_found() {
        assert_eq!(findings(check, &[("lb-agent/src/l7/mod.rs", "f(\"lb_l7_requests\")")]).len(), 1);
        assert!(findings(check, &[("lb-agent/src/metrics/l7.rs", "f(\"lb_l7_requests\")")]).is_empty());
        assert!(findings(check, &[("lb-agent/src/app.rs", "f(\"lb_agent=info\")")]).is_empty());
        assert!(
            findings(check, &[("lb-agent/src/app.rs", "\n#[cfg(test)]\nmod tests { \"lb_x\" }")]).is_empty()
        );
    }
}
