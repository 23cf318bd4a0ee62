//! An annotation of a Service -> how its endpoints are asked whether they are well.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::listed::Listed;
use crate::model::HealthCheck;

const KEYS: &str = "path, host, interval, timeout, healthy, unhealthy, status";

/// What the annotation asks for, or what is wrong with it.
pub(super) fn health_check(text: &str) -> Result<HealthCheck, String> {
    let mut listed = Listed::read(text)?;
    let path = |text: &str| text.starts_with('/').then(|| text.parse().ok()).flatten();
    let interval = listed.time("interval")?.unwrap_or(Duration::from_secs(10));
    let check = HealthCheck {
        path: listed.parsed("path", path, "a path")?.ok_or("path is missing")?,
        host: listed.parsed("host", |text| text.parse().ok(), "a host")?,
        interval,
        timeout: listed.time("timeout")?.unwrap_or(Duration::from_secs(1).min(interval)),
        healthy: listed.count("healthy")?.unwrap_or(2),
        unhealthy: listed.count("unhealthy")?.unwrap_or(3),
        status: listed
            .parsed("status", statuses, "a status such as 200, or some such as 200-399")?
            .unwrap_or(200..=399),
    };
    listed.end(KEYS)?;
    if check.timeout > check.interval {
        return Err("timeout is longer than interval".to_owned());
    }
    Ok(check)
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let range = status(first)?..=status(last)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_say_all_or_little() {
        let little = HealthCheck {
            path: "/healthz".parse().expect("a path"),
            host: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            status: 200..=399,
        };
        assert_eq!(health_check("path=/healthz"), Ok(little));
        let all = HealthCheck {
            path: "/a?b=c".parse().expect("a path"),
            host: Some("shop.example.org:80".parse().expect("a host")),
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            healthy: 1,
            unhealthy: 5,
            status: 204..=204,
        };
        let text = "path=/a?b=c, host=shop.example.org:80, interval=2s, timeout=500ms, healthy=1, unhealthy=5, status=204";
        assert_eq!(health_check(text), Ok(all));
        let quick = health_check("path=/,interval=200ms").expect("a check");
        assert_eq!(quick.timeout, Duration::from_millis(200));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("", "path is missing"),
            ("/healthz", "KEY=VALUE"),
            ("path=healthz", "path: \"healthz\" is not a path"),
            ("path=/a b", "path"),
            ("path=/,host=a b", "host"),
            ("path=/,interval=2", "interval: \"2\" is not a time"),
            ("path=/,interval=1s,timeout=2s", "longer"),
            ("path=/,healthy=0", "healthy"),
            ("path=/,status=399-200", "status"),
            ("path=/,status=2xx", "status"),
            ("path=/,rise=2", "\"rise\" is none of path, host"),
        ] {
            let error = health_check(text).err().unwrap_or_default();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}
