//! Every reason to drop a packet has a packet that is dropped for it, in the tier `datapath`.

use super::{
    rust_text::{RustText, has_word},
    text::{Finding, Text},
};

const OWNER: &str = "lb-common/src/verdict.rs";
const CASES: &str = "tests/datapath/";

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let cases: Vec<_> = texts.iter().filter(|text| text.path.starts_with(CASES)).map(code).collect();
    let owner = texts.iter().filter(|text| text.path == OWNER);
    let untested = |name: &str| !cases.iter().any(|case| has_word(case, &format!("DropReason::{name}")));
    owner
        .flat_map(|text| {
            let reasons = reasons(&text.text).into_iter().filter(|(_, name)| untested(name));
            reasons.map(|(line, name)| {
                Finding::new(text, line, format!("`DropReason::{name}` has no case in {CASES}"))
            })
        })
        .collect()
}

fn code(text: &Text) -> String {
    RustText::read(&text.text).code
}

/// The variants in the list `drop_reasons! { Name = 0 "label", ... }`, with their lines.
fn reasons(source: &str) -> Vec<(usize, String)> {
    let code = RustText::read(source).code;
    let lines = code.lines().enumerate().skip_while(|(_, line)| !line.starts_with("drop_reasons! {"));
    let list = lines.skip(1).take_while(|(_, line)| !line.starts_with('}'));
    let variant = |line: &str| line.split_once('=').map(|(name, _)| name.trim().to_owned());
    list.filter_map(|(index, line)| Some((index + 1, variant(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    const VERDICT: (&str, &str) = (
        "lb-common/src/verdict.rs",
        "macro_rules! drop_reasons { }\ndrop_reasons! {\n    /// A = b.\n    NoMember = 1 \"no_member\",\n    TooBig = 4 \"too_big\",\n}\n",
    );

    #[test]
    fn a_reason_without_a_packet_is_found() {
        let cases = ("tests/datapath/cases.rs", "check(DropReason::NoMember); // DropReason::TooBig");
        let found = findings(check, &[VERDICT, cases]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("DropReason::TooBig"));
    }

    #[test]
    fn without_any_packet_every_reason_is_found() {
        assert_eq!(findings(check, &[VERDICT]).len(), 2);
    }
}
