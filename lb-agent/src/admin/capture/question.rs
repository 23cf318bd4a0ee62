//! What is asked of a capture, as flags and as the query of a request.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use lb_common::capture::MAX_SNAP;
use lb_common::verdict::{DropReason, Verdict};
use percent_encoding::percent_decode_str;

use crate::model::{CaptureEnd, CaptureFilter, CaptureProtocol};

/// Packets unless told otherwise.
pub const DEFAULT_COUNT: u64 = 1_000;
/// Bytes of each.
pub const DEFAULT_SNAP: u32 = 256;
/// Seconds.
pub const DEFAULT_SECONDS: u32 = 60;

/// So many packets can be asked for.
pub const COUNTS: RangeInclusive<u64> = 1..=1_000_000;
/// So many bytes of each.
pub const SNAPS: RangeInclusive<u32> = 64..=MAX_SNAP as u32;
/// For so many seconds.
pub const SECONDS: RangeInclusive<u32> = 1..=3_600;
/// One packet in so many.
pub const SAMPLES: RangeInclusive<u32> = 1..=1_000_000;

/// Every verdict.
const ALL: u64 = u64::MAX;

/// A capture that somebody wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Which packets.
    pub filter: CaptureFilter,
    /// For how long at most.
    pub seconds: u32,
    /// How they are told of.
    pub form: Form,
}

/// How packets are told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A line each.
    Text,
    /// For Wireshark, tshark and tcpdump.
    Pcapng,
}

impl Default for Question {
    fn default() -> Self {
        let filter = CaptureFilter {
            from: None,
            to: None,
            protocol: None,
            verdicts: ALL,
            sample: 1,
            snap: DEFAULT_SNAP,
            count: DEFAULT_COUNT,
        };
        Self { filter, seconds: DEFAULT_SECONDS, form: Form::Pcapng }
    }
}

impl Question {
    /// What is wrong with it, where that depends on more than one flag.
    #[must_use]
    pub fn wrong(&self) -> Option<&'static str> {
        let CaptureFilter { from, to, protocol, .. } = &self.filter;
        let is_v4 = |end: &CaptureEnd| end.addresses.addr().is_ipv4();
        if let (Some(from), Some(to)) = (from, to)
            && is_v4(from) != is_v4(to)
        {
            return Some("--from and --to must be of one family: IPv4 or IPv6");
        }
        let has_port = from.iter().chain(to).any(|end| end.port.is_some());
        let is_icmp = *protocol == Some(CaptureProtocol::Icmp);
        (is_icmp && has_port).then_some("--proto icmp has no ports: leave them out of --from and --to")
    }

    /// That of a request.
    pub(super) fn of_query(query: Option<&str>) -> Result<Self, String> {
        let mut question = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            question.set(name, &value).map_err(|wrong| format!("{name}: {wrong}"))?;
        }
        question.wrong().map_or(Ok(question), |wrong| Err(wrong.to_owned()))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let filter = &mut self.filter;
        let end = || value.parse().map(Some).map_err(|error: crate::model::InvalidEnd| error.to_string());
        match name {
            "from" => filter.from = end()?,
            "to" => filter.to = end()?,
            "proto" => filter.protocol = Some(protocol(value)?),
            "verdict" => {
                let all = value.split(',').map(verdict).collect::<Result<Vec<_>, _>>()?;
                filter.verdicts = verdicts(all);
            }
            "count" => filter.count = number(value, COUNTS)?,
            "snap" => filter.snap = number(value, SNAPS)?,
            "sample" => filter.sample = number(value, SAMPLES)?,
            "seconds" => self.seconds = number(value, SECONDS)?,
            "form" => self.form = form(value)?,
            _ => {
                return Err(
                    "unknown; there are from, to, proto, verdict, count, snap, sample, seconds, form"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// It as the query of a request.
    #[must_use]
    pub fn query(&self) -> String {
        let Self { filter, seconds, form } = self;
        let form = match form {
            Form::Text => "text",
            Form::Pcapng => "pcapng",
        };
        let CaptureFilter { count, snap, sample, .. } = filter;
        let bounds = format!("count={count}&snap={snap}&sample={sample}&seconds={seconds}&form={form}");
        let narrow = narrowing(filter).map(|(name, value)| format!("{name}={value}&"));
        narrow.chain([bounds]).collect()
    }
}

/// As flags, without those that bound it.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<_> =
            narrowing(&self.filter).map(|(name, value)| format!("--{name} {value}")).collect();
        if flags.is_empty() { f.write_str("all packets") } else { f.write_str(&flags.join(" ")) }
    }
}

/// What narrows a filter.
fn narrowing(filter: &CaptureFilter) -> impl Iterator<Item = (&'static str, String)> {
    let CaptureFilter { from, to, protocol, verdicts, .. } = *filter;
    let labels = Verdict::all().filter(|verdict| verdicts >> verdict.counter() & 1 == 1);
    let labels = (verdicts != ALL).then(|| labels.map(Verdict::label).collect::<Vec<_>>().join(","));
    [
        ("from", from.map(|end| end.to_string())),
        ("to", to.map(|end| end.to_string())),
        ("proto", protocol.map(|protocol| protocol.name().to_owned())),
        ("verdict", labels),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// The bits of some verdicts; all of them if there are none.
#[must_use]
pub fn verdicts(all: impl IntoIterator<Item = Verdict>) -> u64 {
    match all.into_iter().fold(0, |bits, verdict| bits | 1 << verdict.counter()) {
        0 => ALL,
        bits => bits,
    }
}

/// Every one of a packet that is lost.
pub fn drops() -> impl Iterator<Item = Verdict> {
    DropReason::ALL.into_iter().map(Verdict::Drop)
}

/// The verdict of a label.
///
/// # Errors
/// All labels, if it is none.
pub fn verdict(label: &str) -> Result<Verdict, String> {
    Verdict::all().find(|verdict| verdict.label() == label).ok_or_else(|| {
        let known: Vec<_> = Verdict::all().map(Verdict::label).collect();
        format!("{label:?} is no verdict; there are {}", known.join(", "))
    })
}

fn protocol(name: &str) -> Result<CaptureProtocol, String> {
    let found = CaptureProtocol::ALL.into_iter().find(|protocol| protocol.name() == name);
    found.ok_or_else(|| format!("{name:?} is none of tcp, udp and icmp"))
}

fn form(name: &str) -> Result<Form, String> {
    match name {
        "text" => Ok(Form::Text),
        "pcapng" => Ok(Form::Pcapng),
        _ => Err(format!("{name:?} is neither text nor pcapng")),
    }
}

fn number<T: FromStr + PartialOrd + fmt::Display>(
    value: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{value:?} is no number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, words: &str) {
        let question = Question::of_query(Some(query)).expect(query);
        assert_eq!(question.to_string(), words, "{query}");
        assert_eq!(Question::of_query(Some(&question.query())), Ok(question), "{query}");
    }

    #[test]
    fn questions_are_read_and_written() {
        assert_eq!(Question::of_query(None), Ok(Question::default()));
        check("", "all packets");
        check("from=192.0.2.7:40312&to=203.0.113.10:443", "--from 192.0.2.7:40312 --to 203.0.113.10:443");
        check("from=%5B2001:db8::%2F32%5D:1&proto=tcp", "--from [2001:db8::/32]:1 --proto tcp");
        check("verdict=sent,bad_tag&count=5&snap=64&sample=10&seconds=3&form=text", "--verdict sent,bad_tag");
        check("proto=icmp&to=192.0.2.0/24", "--to 192.0.2.0/24 --proto icmp");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, words) in [
            ("from=x", "from: \"x\" is no address"),
            ("verdict=lost", "verdict: \"lost\" is no verdict; there are not_for_vip, "),
            ("proto=sctp", "proto: \"sctp\" is none of"),
            ("count=0", "count: \"0\" is no number from 1 to 1000000"),
            ("snap=2049", "snap: "),
            ("sample=0", "sample: "),
            ("seconds=1.5", "seconds: "),
            ("form=pcap", "form: "),
            ("port=1", "port: unknown; there are from, to, "),
            ("from=192.0.2.7&to=2001:db8::1", "--from and --to must be of one family"),
            ("proto=icmp&to=192.0.2.7:1", "--proto icmp has no ports"),
        ] {
            let error = Question::of_query(Some(query)).expect_err(query);
            assert!(error.starts_with(words), "{query}: {error}");
        }
    }

    #[test]
    fn drops_are_verdicts_too() {
        let bits = verdicts(drops());
        assert!(
            Verdict::all().all(|verdict| {
                (bits >> verdict.counter() & 1 == 1) == matches!(verdict, Verdict::Drop(_))
            })
        );
        assert_eq!(verdicts([]), ALL);
    }
}
