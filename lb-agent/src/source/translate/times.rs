//! Annotations -> how long requests may take, how many there may be, and what is tried again: ours of a Service, and those of ingress-nginx of an
//! Ingress.

use std::time::Duration;

use super::listed::{Listed, positive, time};
use super::parsed::Parsed;
use crate::model::{RequestLimits, Retries, Times};

const TIMES: &str = "connect, try, request, read, send";
const LIMITS: &str = "endpoint-requests, pending-requests, pending-time";
const RETRIES: &str = "tries, within, on";
const ON: &str =
    "some of connect, error, timeout, any-method and statuses from 400 on, with spaces between them";

const SECONDS: &str = "a number of seconds, up to a day";

/// How long ingress-nginx goes on to ask others.
const WITHIN: &str = "proxy-next-upstream-timeout";

/// What our annotation says of times, or what is wrong with it.
pub(super) fn times(text: &str) -> Result<Times, String> {
    let mut listed = Listed::read(text)?;
    let times = Times {
        connect: listed.time("connect")?,
        attempt: listed.time("try")?,
        request: listed.time("request")?,
        read: listed.time("read")?,
        send: listed.time("send")?,
    };
    listed.end(TIMES)?;
    match (times.attempt, times.request) {
        (Some(attempt), Some(request)) if attempt > request => Err("try is longer than request".to_owned()),
        _ => Ok(times),
    }
}

/// What our annotation says of limits, or what is wrong with it.
pub(super) fn limits(text: &str) -> Result<RequestLimits, String> {
    let mut listed = Listed::read(text)?;
    let limits = RequestLimits {
        endpoint_requests: listed.count("endpoint-requests")?,
        pending_requests: listed.count("pending-requests")?,
        pending_time: listed.time("pending-time")?,
    };
    listed.end(LIMITS)?;
    Ok(limits)
}

/// What our annotation says of retries, or what is wrong with it.
pub(super) fn retries(text: &str) -> Result<Retries, String> {
    let mut listed = Listed::read(text)?;
    let usual = Retries::default();
    let on = listed.parsed("on", |text| conditions(text, our_condition), ON)?;
    let (tries, within) = (listed.count("tries")?.unwrap_or(usual.tries), listed.time("within")?);
    listed.end(RETRIES)?;
    Ok(Retries { tries, within, ..on.unwrap_or(usual) })
}

/// Changes what is retried as a word says, if it is known.
type Condition = fn(&str, &mut Retries) -> bool;

fn conditions(text: &str, condition: Condition) -> Option<Retries> {
    let (mut retries, mut statuses) =
        (Retries { tries: Retries::default().tries, ..Retries::none() }, Vec::new());
    for word in text.split_ascii_whitespace() {
        match status(word) {
            Some(status) => statuses.push(status),
            None if condition(word, &mut retries) => {}
            None => return None,
        }
    }
    retries.on_status = statuses.into();
    Some(retries)
}

fn our_condition(word: &str, retries: &mut Retries) -> bool {
    match word {
        "connect" => retries.on_connect = true,
        "error" => retries.on_error = true,
        "timeout" => retries.on_timeout = true,
        "any-method" => retries.of_all_methods = true,
        _ => return false,
    }
    true
}

/// `503`, or as nginx has it `http_503`.
fn status(word: &str) -> Option<u16> {
    let number = word.strip_prefix("http_").unwrap_or(word);
    number.parse().ok().filter(|status| (400..=599).contains(status))
}

/// What ingress-nginx would do by annotations, which `read` gives by the end of their names. Those that cannot be read
/// are told to `wrong` with what they should be.
pub(super) fn times_of_nginx<'a>(
    read: impl Fn(&'static str) -> Option<&'a str>,
    mut wrong: impl FnMut(&'static str, &str),
) -> Option<Times> {
    let mut parsed = Parsed { read: &read, wrong: &mut wrong };
    let mut time = |name| parsed.of(name, seconds, SECONDS);
    let (connect, send) = (time("proxy-connect-timeout"), time("proxy-send-timeout"));
    // It is the time between two reads, of which the first one is that of the head.
    let quiet = time("proxy-read-timeout");
    let times = Times { connect, attempt: quiet, request: None, read: quiet, send };
    (times != Times::default()).then_some(times)
}

/// The same of retries.
pub(super) fn retries_of_nginx<'a>(
    read: impl Fn(&'static str) -> Option<&'a str>,
    mut wrong: impl FnMut(&'static str, &str),
) -> Option<Retries> {
    let (on, tries, within) = (read("proxy-next-upstream"), read("proxy-next-upstream-tries"), read(WITHIN));
    if on.is_none() && tries.is_none() && within.is_none() {
        return None;
    }
    let known = |on| match on {
        "off" => Some(Retries::none()),
        on => conditions(on, condition_of_nginx),
    };
    // Without a limit.
    let read = |name| read(name).filter(|text| name != WITHIN || *text != "0");
    let mut parsed = Parsed { read: &read, wrong: &mut wrong };
    let wanted = "off, or some of error, timeout, invalid_header, http_STATUS, non_idempotent";
    let retries = parsed.of("proxy-next-upstream", known, wanted).unwrap_or_default();
    // Without a limit, each endpoint has its turn.
    let count = |text: &str| if text == "0" { Some(u32::MAX) } else { positive(text) };
    let most = parsed.of("proxy-next-upstream-tries", count, "a number").unwrap_or(3);
    let tries = if on == Some("off") { 1 } else { most };
    let within = parsed.of(WITHIN, seconds, SECONDS);
    Some(Retries { tries, within, ..retries })
}

fn condition_of_nginx(word: &str, retries: &mut Retries) -> bool {
    match word {
        "error" => (retries.on_connect, retries.on_error) = (true, true),
        // A response that is no HTTP is one that broke off.
        "invalid_header" => retries.on_error = true,
        "timeout" => (retries.on_connect, retries.on_timeout) = (true, true),
        "non_idempotent" => retries.of_all_methods = true,
        _ => return false,
    }
    true
}

/// Plain seconds, or a time with its unit.
fn seconds(text: &str) -> Option<Duration> {
    positive::<u32>(text).and_then(|_| time(&format!("{text}s"))).or_else(|| time(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_lists() {
        let second = Duration::from_secs;
        let all = Times {
            connect: Some(second(1)),
            attempt: Some(second(2)),
            request: Some(second(5)),
            read: Some(second(60)),
            send: Some(Duration::from_millis(500)),
        };
        assert_eq!(times("connect=1s, try=2s, request=5s, read=1m, send=500ms"), Ok(all));
        let limits = RequestLimits {
            endpoint_requests: Some(10),
            pending_requests: Some(5),
            pending_time: Some(second(1)),
        };
        assert_eq!(super::limits("endpoint-requests=10, pending-requests=5, pending-time=1s"), Ok(limits));
        let usual = Retries::default();
        assert_eq!(retries("tries=3"), Ok(Retries { tries: 3, ..usual.clone() }));
        let some = Retries {
            within: Some(second(10)),
            on_error: true,
            on_status: [502, 503].into(),
            of_all_methods: true,
            tries: usual.tries,
            ..Retries::none()
        };
        assert_eq!(retries("within=10s, on=error 502 any-method 503"), Ok(some));
        for (error, wrong) in [
            (times("try=2").err(), "try: \"2\" is not a time"),
            (times("try=2s, request=1s").err(), "longer"),
            (times("total=2s").err(), "\"total\" is none of connect, try"),
            (super::limits("requests=5").err(), "\"requests\" is none of endpoint-requests"),
            (retries("on=never").err(), "on: \"never\" is not some of connect"),
            (retries("on=200").err(), "on"),
            (retries("tries=0").err(), "tries"),
        ] {
            assert!(error.as_ref().is_some_and(|error| error.contains(wrong)), "{wrong}: {error:?}");
        }
    }

    #[test]
    fn those_of_nginx_have_its_defaults() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let read = |pairs: &'static [(&'static str, &'static str)]| {
            move |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        };
        let never = |name: &str, _: &str| panic!("{name}");
        assert_eq!(times_of_nginx(read(&[]), never), None);
        let times =
            times_of_nginx(read(&[("proxy-connect-timeout", "5"), ("proxy-read-timeout", "3600")]), never);
        let expected =
            Times { connect: seconds(5), attempt: seconds(3600), read: seconds(3600), ..Times::default() };
        assert_eq!(times, Some(expected));
        assert_eq!(retries_of_nginx(read(&[]), never), None);
        assert_eq!(
            retries_of_nginx(
                read(&[("proxy-next-upstream", "off"), ("proxy-next-upstream-tries", "5")]),
                never
            ),
            Some(Retries::none())
        );
        let some = [
            ("proxy-next-upstream", "timeout http_502 non_idempotent"),
            ("proxy-next-upstream-timeout", "10"),
        ];
        let some: &'static [_] = Box::leak(Box::new(some));
        let expected = Retries {
            tries: 3,
            within: seconds(10),
            on_connect: true,
            on_timeout: true,
            on_status: [502].into(),
            of_all_methods: true,
            ..Retries::none()
        };
        assert_eq!(retries_of_nginx(read(some), never), Some(expected));
        let mut wrong = Vec::new();
        let bad = [
            ("proxy-next-upstream", "maybe"),
            ("proxy-next-upstream-tries", "few"),
            ("proxy-next-upstream-timeout", "x"),
        ];
        let bad: &'static [_] = Box::leak(Box::new(bad));
        let found = retries_of_nginx(read(bad), |name, _| wrong.push(name));
        assert_eq!(found, Some(Retries { tries: 3, ..Retries::default() }));
        assert_eq!(
            wrong,
            ["proxy-next-upstream", "proxy-next-upstream-tries", "proxy-next-upstream-timeout"]
        );
    }
}
