//! What was found, and how it is shown.

use std::fmt::{self, Write};

use super::read::{Fact, Unread};

/// How good something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but worse than it could.
    Warn,
    /// The packet path does not work like this.
    Fail,
    /// It could not be looked at.
    Unknown,
}

/// All that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub(super) sections: Vec<Section>,
}

/// Findings that belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Section {
    title: String,
    findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    about: &'static str,
    judgement: Judgement,
}

/// What is thought of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Judgement {
    pub(super) status: Status,
    /// What was found, and what it means.
    pub(super) found: String,
    /// How to mend it, or to see it.
    pub(super) advice: Option<String>,
}

/// As it should be.
pub(super) fn ok(found: impl Into<String>) -> Judgement {
    Judgement { status: Status::Ok, found: found.into(), advice: None }
}

/// It works, but worse than it could.
pub(super) fn warn(found: impl Into<String>, advice: impl Into<String>) -> Judgement {
    Judgement { status: Status::Warn, found: found.into(), advice: Some(advice.into()) }
}

/// It does not work.
pub(super) fn fail(found: impl Into<String>, advice: impl Into<String>) -> Judgement {
    Judgement { status: Status::Fail, found: found.into(), advice: Some(advice.into()) }
}

/// It could not be looked at.
pub(super) fn unknown(about: &'static str, unread: &Unread) -> Finding {
    let advice = (*unread == Unread::Denied).then(|| "run this as root".to_owned());
    Judgement { status: Status::Unknown, found: format!("not looked at: {unread}"), advice }.about(about)
}

/// Judges what could be read.
pub(super) fn judge<T>(about: &'static str, fact: Fact<T>, by: impl FnOnce(T) -> Judgement) -> Finding {
    match fact {
        Ok(value) => by(value).about(about),
        Err(unread) => unknown(about, &unread),
    }
}

impl Judgement {
    /// The finding about something.
    pub(super) fn about(self, about: &'static str) -> Finding {
        Finding { about, judgement: self }
    }
}

impl Section {
    pub(super) fn new(title: impl Into<String>, findings: Vec<Finding>) -> Self {
        Self { title: title.into(), findings }
    }
}

impl Report {
    /// Whether anything keeps the packet path from working.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.count(Status::Fail) > 0
    }

    /// How many findings are of a kind.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        let findings = self.sections.iter().flat_map(|section| &section.findings);
        findings.filter(|finding| finding.judgement.status == status).count()
    }

    /// A table for people, in colours if they can be seen.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let mut text = String::new();
        // A String takes everything.
        _ = self.write(&mut text, colours);
        text
    }

    fn write(&self, out: &mut impl Write, colours: bool) -> fmt::Result {
        for section in &self.sections {
            writeln!(out, "{}", paint(&section.title, "1", colours))?;
            for Finding { about, judgement } in &section.findings {
                let status = format!("{:<4}", judgement.status.word());
                let status = paint(&status, judgement.status.colour(), colours);
                writeln!(out, "  {status}  {about:<16} {}", judgement.found)?;
                if let Some(advice) = &judgement.advice {
                    writeln!(out, "{:25}-> {advice}", "")?;
                }
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", self.summary())
    }

    fn summary(&self) -> String {
        let [failed, warned, unread] =
            [Status::Fail, Status::Warn, Status::Unknown].map(|status| self.count(status));
        let mut summary = match (failed, warned) {
            (0, 0) => "Nothing is wrong.".to_owned(),
            (0, warned) => format!("It works, with {}.", count(warned, "warning")),
            (failed, 0) => format!("{} to mend.", count(failed, "failure")),
            (failed, warned) => {
                format!("{} to mend, {}.", count(failed, "failure"), count(warned, "warning"))
            }
        };
        if unread > 0 {
            summary += &format!(" {unread} not looked at.");
        }
        summary
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Unknown => "?",
        }
    }

    /// As a terminal's "select graphic rendition" takes it.
    const fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Warn => "33",
            Self::Fail => "31",
            Self::Unknown => "36",
        }
    }
}

fn paint(text: &str, colour: &str, colours: bool) -> String {
    if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A judgement has this status, and says these words in what was found or how to mend it.
    pub(in crate::admin::doctor) fn check(judgement: &Judgement, status: Status, words: &str) {
        let said = format!("{} -> {}", judgement.found, judgement.advice.as_deref().unwrap_or_default());
        assert_eq!(judgement.status, status, "{said}");
        assert!(said.contains(words), "{words:?} is not in {said:?}");
        let has_advice = judgement.advice.is_some();
        assert_eq!(has_advice, matches!(status, Status::Warn | Status::Fail), "{said}");
    }

    fn report(judgements: Vec<Judgement>) -> Report {
        let findings = judgements.into_iter().map(|judgement| judgement.about("thing")).collect();
        Report { sections: vec![Section::new("Kernel", findings)] }
    }

    #[test]
    fn the_table_shows_what_to_do() {
        let text = report(vec![ok("6.18"), fail("off", "switch it on")]).render(false);
        let expected = "Kernel\n  \
                        ok    thing            6.18\n  \
                        FAIL  thing            off\n                         \
                        -> switch it on\n\n\
                        1 failure to mend.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn colours_are_only_where_they_are_asked_for() {
        let report = report(vec![ok("6.18"), warn("slow", "faster")]);
        assert!(!report.render(false).contains('\x1b'));
        assert!(report.render(true).contains("\x1b[33mwarn\x1b[0m"));
    }

    #[test]
    fn only_failures_fail() {
        for (judgements, failed, summary) in [
            (vec![ok("")], false, "Nothing is wrong."),
            (vec![ok(""), warn("", "")], false, "It works, with 1 warning."),
            (vec![warn("", ""), warn("", ""), fail("", "")], true, "1 failure to mend, 2 warnings."),
        ] {
            let report = report(judgements);
            assert_eq!(report.has_failed(), failed);
            assert_eq!(report.summary(), summary);
        }
    }

    #[test]
    fn what_could_not_be_read_is_said() {
        let finding = judge("thing", Err::<u64, _>(Unread::Denied), |_| ok("never"));
        let report = Report { sections: vec![Section::new("Kernel", vec![finding])] };
        assert!(!report.has_failed());
        let text = report.render(false);
        assert!(text.contains("?     thing            not looked at: permission denied"), "{text}");
        assert!(text.contains("-> run this as root") && text.ends_with("1 not looked at.\n"), "{text}");
    }
}
