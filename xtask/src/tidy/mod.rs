//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that a compiler does not check. Each rule is a pure
//! function over the repository's texts, in a file of its own.

mod absolute_paths;
mod allow_attributes;
mod arrows;
mod doc_names;
mod drop_reasons;
mod file_size;
mod flags;
mod headers;
mod metric_names;
mod rust_text;
mod status_codes;
mod text;
mod unsafe_code;
mod wall_clock;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::workspace;
use text::{Finding, Text};

/// What a rule says about the repository: nothing, if it holds.
type Rule = fn(&[Text]) -> Vec<Finding>;

const RULES: [(&str, Rule); 12] = [
    ("absolute_paths", absolute_paths::check),
    ("allow_attributes", allow_attributes::check),
    ("arrows", arrows::check),
    ("doc_names", doc_names::check),
    ("drop_reasons", drop_reasons::check),
    ("file_size", file_size::check),
    ("flags", flags::check),
    ("headers", headers::check),
    ("metric_names", metric_names::check),
    ("status_codes", status_codes::check),
    ("unsafe_code", unsafe_code::check),
    ("wall_clock", wall_clock::check),
];

pub(crate) fn run() -> Result<ExitCode> {
    check()?;
    println!("tidy: {} rules hold", RULES.len());
    Ok(ExitCode::SUCCESS)
}

/// Prints every finding, and fails if there is one.
pub(crate) fn check() -> Result<()> {
    let texts = text::repository(&workspace::root()?)?;
    let findings: Vec<_> = RULES
        .iter()
        .flat_map(|(name, rule)| rule(&texts).into_iter().map(move |finding| (name, finding)))
        .collect();
    for (name, finding) in &findings {
        println!("{finding} [{name}]");
    }
    ensure!(findings.is_empty(), "{} invariants broken", findings.len());
    Ok(())
}
