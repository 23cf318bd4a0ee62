//! The place of a request in a trace, as headers have it: W3C Trace Context.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` trace `-` span `-` flags.
const LENGTH: usize = 55;

const SAMPLED: u8 = 1;

/// Who called us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parent {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

/// A request's own span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::l7) struct Place {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    is_sampled: bool,
}

impl Place {
    /// The first of a trace.
    pub(super) const fn new(trace: u128, span: u64, is_sampled: bool) -> Self {
        Self { trace, span, parent: None, is_sampled }
    }

    /// Below another one, which has decided whether it is sampled.
    pub(super) const fn below(parent: Parent, span: u64) -> Self {
        let Parent { trace, span: parent, is_sampled } = parent;
        Self { trace, span, parent: Some(parent), is_sampled }
    }

    /// Whether a span is to be sent.
    pub(in crate::l7) const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The trace's id, as text.
    pub(in crate::l7) fn trace(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's id, as text.
    pub(super) fn span(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// The id of the span above it, as text.
    pub(super) fn parent(&self) -> Option<String> {
        self.parent.map(|parent| format!("{parent:016x}"))
    }

    /// Tells an endpoint that this is its parent.
    pub(in crate::l7) fn tell(&self, headers: &mut HeaderMap) {
        let flags = u8::from(self.is_sampled) * SAMPLED;
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span);
        // Of digits and dashes there is always a value.
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            headers.insert(TRACEPARENT, value);
        }
        if self.parent.is_none() {
            // It belongs to a trace that is not gone on with.
            headers.remove(TRACESTATE);
        }
    }
}

/// Who called us, if exactly one header says so in the right form.
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let one = all.next().filter(|_| all.next().is_none())?;
    parse(one.to_str().ok()?)
}

/// Versions that are not known yet may say more at the end.
fn parse(text: &str) -> Option<Parent> {
    let (known, more) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let is_whole = [version, trace, span, flags].map(str::len) == [2, 32, 16, 2] && parts.next().is_none();
    let is_hex = known.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    let is_version = version != "ff" && (more.is_empty() || (version != "00" && more.starts_with('-')));
    if !is_whole || !is_hex || !is_version {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(Parent { trace, span, is_sampled: flags & SAMPLED != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_read_as_the_standard_has_it() {
        let good = parse(GOOD).expect("that of the standard");
        assert_eq!(
            (good.trace, good.span),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7)
        );
        assert!(good.is_sampled);
        let changed = |from, to| parse(&GOOD.replace(from, to));
        assert!(changed("-01", "-00").is_some_and(|parent| !parent.is_sampled));
        assert!(changed("-01", "-ff").is_some_and(|parent| parent.is_sampled), "flags that are not known");
        assert!(changed("00-4", "01-4").is_some() && parse(&format!("01{}-more", &GOOD[2..])).is_some());
        for wrong in [
            String::new(),
            GOOD.to_uppercase(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("01{}more", &GOOD[2..]),
            GOOD.replace("00-4", "ff-4"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "0"),
            GOOD.replace("4bf92f", "4bf9-f"),
            GOOD.replace("-01", "-0é"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_endpoint_is_told_of_our_own_span() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(GOOD));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        Place::below(parent(&headers).expect("a parent"), 0xab).tell(&mut headers);
        assert_eq!(headers[TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert_eq!(headers[TRACESTATE], "a=1");
        Place::new(1, 2, false).tell(&mut headers);
        assert_eq!(headers[TRACEPARENT], "00-00000000000000000000000000000001-0000000000000002-00");
        assert!(!headers.contains_key(TRACESTATE));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(parent(&headers), None, "there are two");
    }
}
