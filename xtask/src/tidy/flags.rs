//! Every flag and environment variable of the agent stands in one file, or in one that is a part of it.

use super::{
    rust_text::RustText,
    text::{Finding, Text},
};

const OWNER: &str = "lb-agent/src/cli.rs";

const PARTS: &str = "lb-agent/src/cli/";

/// How code asks for a flag or a variable.
const ASKS: [&str; 5] = ["env::var", "#[arg(", "#[clap(", "#[command(", "env::args"];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let is_owner = |text: &Text| text.path == OWNER || text.path.starts_with(PARTS);
    let guarded = |text: &&Text| text.is_rust() && text.path.starts_with("lb-agent/src/") && !is_owner(text);
    texts.iter().filter(guarded).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let rust = RustText::read(&text.text);
    let asking = rust.lines_before_tests().filter(|(_, line)| ASKS.iter().any(|ask| line.contains(ask)));
    asking
        .map(|(line, _)| Finding::new(text, line, format!("flags and variables belong into {OWNER}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn variables_outside_of_the_owner_are_found() {
        assert_eq!(findings(check, &[("lb-agent/src/app.rs", "std::env::var(\"X\")")]).len(), 1);
        assert_eq!(findings(check, &[("lb-agent/src/app.rs", "#[arg(long)]")]).len(), 1);
        assert!(findings(check, &[("lb-agent/src/cli.rs", "#[arg(long, env = \"X\")]")]).is_empty());
        assert!(findings(check, &[("lb-agent/src/cli/run.rs", "#[arg(long)]")]).is_empty());
        assert!(findings(check, &[("lb-agent/src/app.rs", "env!(\"X\")")]).is_empty());
    }
}
