//! `lb-agent capture`: its flags.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use lb_common::verdict::Verdict;

use super::AdminSocket;
use crate::admin::capture::{
    COUNTS, DEFAULT_COUNT, DEFAULT_SECONDS, DEFAULT_SNAP, Form, Question, SAMPLES, SECONDS, SNAPS, drops,
    verdict, verdicts,
};
use crate::model::{CaptureEnd, CaptureFilter, CaptureProtocol};

/// `lb-agent capture`
#[derive(Clone, Debug, Args)]
pub struct Capture {
    /// Only packets from there, as they come from the client or in an encapsulated one.
    #[arg(long, value_name = "IP[/LEN][:PORT]")]
    pub from: Option<CaptureEnd>,
    /// Only packets to there.
    #[arg(long, value_name = "VIP[/LEN][:PORT]")]
    pub to: Option<CaptureEnd>,
    /// Only packets of this protocol.
    #[arg(long, value_name = "PROTOCOL")]
    pub proto: Option<CapturedProtocol>,
    /// Only packets of which this became: labels of `lb_l4_packets_total`. Repeat it, or separate names by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = verdict)]
    pub verdict: Vec<Verdict>,
    /// Only packets that are lost, for whatever reason.
    #[arg(long, conflicts_with = "verdict")]
    pub drops: bool,
    /// So many packets, then it ends.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_COUNT, value_parser = RangedU64ValueParser::<u64>::new().range(COUNTS))]
    pub count: u64,
    /// So many bytes of each.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SNAP, value_parser = range(&SNAPS))]
    pub snap: u32,
    /// One in so many of those that match, counted by each CPU for itself.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = range(&SAMPLES))]
    pub sample: u32,
    /// For so long at most.
    #[arg(long, value_name = "S", default_value_t = DEFAULT_SECONDS, value_parser = range(&SECONDS))]
    pub seconds: u32,
    /// Write packets as pcapng into this file, readable by its owner only; `-` for the standard output.
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Where the agent listens.
    #[command(flatten)]
    pub admin_socket: AdminSocket,
}

/// Protocols that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CapturedProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
}

fn range(range: &std::ops::RangeInclusive<u32>) -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(u64::from(*range.start())..=u64::from(*range.end()))
}

impl Capture {
    /// As the agent is asked.
    #[must_use]
    pub fn question(&self) -> Question {
        let protocol = self.proto.map(|protocol| match protocol {
            CapturedProtocol::Tcp => CaptureProtocol::Tcp,
            CapturedProtocol::Udp => CaptureProtocol::Udp,
            CapturedProtocol::Icmp => CaptureProtocol::Icmp,
        });
        let filter = CaptureFilter {
            from: self.from,
            to: self.to,
            protocol,
            verdicts: if self.drops { verdicts(drops()) } else { verdicts(self.verdict.iter().copied()) },
            sample: self.sample,
            snap: self.snap,
            count: self.count,
        };
        let form = if self.write.is_some() { Form::Pcapng } else { Form::Text };
        Question { filter, seconds: self.seconds, form }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(args: &[&str]) -> Result<Question, String> {
        let cli = Cli::try_parse_from([&["lb-agent", "capture"], args].concat());
        match cli.map_err(|error| error.to_string())?.command {
            Command::Capture(capture) => Ok(capture.question()),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn flags_are_a_question() {
        let question = parse(&[]).expect("no flag is needed");
        assert_eq!(question, Question { form: Form::Text, ..Question::default() });
        let flags = ["--from", "192.0.2.0/24", "--to", "203.0.113.10:443", "--proto", "tcp", "-w", "-"];
        let question = parse(&flags).expect("known flags");
        assert_eq!(question.to_string(), "--from 192.0.2.0/24 --to 203.0.113.10:443 --proto tcp");
        assert_eq!(question.form, Form::Pcapng);
        let two = parse(&["--verdict", "sent,passed_on"]).expect("known flags");
        assert_eq!(two.to_string(), "--verdict sent,passed_on");
        let drops = parse(&["--drops"]).expect("known flags").to_string();
        assert!(
            drops.starts_with("--verdict not_configured,no_member,") && !drops.contains("sent"),
            "{drops}"
        );
    }

    #[test]
    fn errors_name_the_flag() {
        for (args, words) in [
            (&["--from", "shop"][..], "--from"),
            (&["--to", "203.0.113.10:0"], "--to"),
            (&["--proto", "sctp"], "--proto"),
            (&["--verdict", "lost"], "--verdict"),
            (&["--verdict", "sent", "--drops"], "--drops"),
            (&["--count", "0"], "--count"),
            (&["--snap", "63"], "--snap"),
            (&["--sample", "0"], "--sample"),
            (&["--seconds", "3601"], "--seconds"),
        ] {
            let error = parse(args).expect_err(words);
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
}
