//! Annotations -> the cookie by which clients come to the same endpoint again: ours of a Service, and those of
//! ingress-nginx of an Ingress.

use std::time::Duration;

use http::HeaderName;

use super::listed::{Listed, positive};
use super::parsed::Parsed;
use crate::model::{SameSite, Sticky};

const KEYS: &str = "cookie, path, domain, max-age, same-site, secure, change-on-failure";

const COOKIE: &str = "the name of a cookie";
const PATH: &str = "a path";
const DOMAIN: &str = "a domain";
const SAME_SITE: &str = "one of Strict, Lax, None";
const TRUTH: &str = "true or false";
const SECONDS: &str = "a number of seconds";

/// What our annotation asks for, or what is wrong with it.
pub(super) fn sticky(text: &str) -> Result<Sticky, String> {
    let mut listed = Listed::read(text)?;
    let sticky = Sticky {
        cookie: listed.parsed("cookie", cookie, COOKIE)?.ok_or("cookie is missing")?,
        path: listed.parsed("path", path, PATH)?,
        domain: listed.parsed("domain", domain, DOMAIN)?,
        max_age: listed.time("max-age")?,
        same_site: listed.parsed("same-site", same_site, SAME_SITE)?,
        is_secure: listed.parsed("secure", truth, TRUTH)?,
        changes_on_failure: listed.parsed("change-on-failure", truth, TRUTH)?.unwrap_or_default(),
    };
    listed.end(KEYS)?;
    Ok(sticky)
}

/// What ingress-nginx would do by annotations, which `read` gives by the end of their names. Those that cannot be read
/// are told to `wrong` with what they should be, and count as not there.
pub(super) fn of_nginx<'a>(
    read: impl Fn(&'static str) -> Option<&'a str>,
    mut wrong: impl FnMut(&'static str, &str),
) -> Option<Sticky> {
    let affinity = read("affinity")?;
    if affinity != "cookie" {
        wrong("affinity", "cookie");
        return None;
    }
    if read("affinity-mode").is_some_and(|mode| !["balanced", "persistent"].contains(&mode)) {
        wrong("affinity-mode", "balanced or persistent");
    }
    let mut parsed = Parsed { read: &read, wrong: &mut wrong };
    let max_age = parsed.of("session-cookie-max-age", positive, SECONDS);
    // It stands for a date, which old browsers read instead of an age.
    let expires = parsed.of("session-cookie-expires", positive, SECONDS);
    Some(Sticky {
        cookie: parsed
            .of("session-cookie-name", cookie, COOKIE)
            .unwrap_or_else(|| "INGRESSCOOKIE".to_owned()),
        path: parsed.of("session-cookie-path", path, PATH),
        domain: parsed.of("session-cookie-domain", domain, DOMAIN),
        max_age: max_age.or(expires).map(Duration::from_secs),
        same_site: parsed.of("session-cookie-samesite", same_site, SAME_SITE),
        is_secure: parsed.of("session-cookie-secure", truth, TRUTH),
        changes_on_failure: parsed.of("session-cookie-change-on-failure", truth, TRUTH).unwrap_or_default(),
    })
}

/// A token, as the name of a header is (RFC 6265 section 4.1.1), but for its case.
pub(super) fn cookie(text: &str) -> Option<String> {
    text.parse::<HeaderName>().ok().map(|_| text.to_owned())
}

/// What may stand in an attribute (RFC 6265 section 4.1.1).
fn path(text: &str) -> Option<String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    (text.starts_with('/') && is_plain).then(|| text.to_owned())
}

fn domain(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!text.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
}

fn same_site(text: &str) -> Option<SameSite> {
    SameSite::ALL.into_iter().find(|site| site.name().eq_ignore_ascii_case(text))
}

pub(super) fn truth(text: &str) -> Option<bool> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_may_say_all_or_little() {
        let little = sticky("cookie=shop").expect("a name is enough");
        assert_eq!((little.cookie.as_str(), little.path, little.is_secure), ("shop", None, None));
        let all = "cookie=shop, path=/a, domain=example.org, max-age=1h, same-site=lax, secure=true, change-on-failure=true";
        let expected = Sticky {
            cookie: "shop".to_owned(),
            path: Some("/a".to_owned()),
            domain: Some("example.org".to_owned()),
            max_age: Some(Duration::from_secs(3600)),
            same_site: Some(SameSite::Lax),
            is_secure: Some(true),
            changes_on_failure: true,
        };
        assert_eq!(sticky(all), Ok(expected));
        for (text, wrong) in [
            ("", "cookie is missing"),
            ("cookie=a b", "cookie: \"a b\" is not the name of a cookie"),
            ("cookie=a,path=/;x", "path"),
            ("cookie=a,domain=a;b", "domain"),
            ("cookie=a,same-site=never", "same-site"),
            ("cookie=a,secure=yes", "secure"),
            ("cookie=a,max-age=60", "max-age"),
            ("cookie=a,http-only=true", "\"http-only\" is none of cookie, path"),
        ] {
            let error = sticky(text).err().unwrap_or_default();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    #[test]
    fn those_of_nginx_have_its_defaults() {
        let read = |pairs: &'static [(&'static str, &'static str)]| {
            let mut wrong = Vec::new();
            let value = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let sticky = of_nginx(value, |name, _| wrong.push(name));
            (sticky, wrong)
        };
        assert_eq!(read(&[("session-cookie-name", "a")]), (None, vec![]), "without affinity, none");
        assert_eq!(read(&[("affinity", "ip")]), (None, vec!["affinity"]));
        let (sticky, wrong) = read(&[("affinity", "cookie"), ("session-cookie-expires", "60")]);
        let sticky = sticky.expect("a cookie");
        assert_eq!(
            (sticky.cookie.as_str(), sticky.max_age, wrong),
            ("INGRESSCOOKIE", Some(Duration::from_secs(60)), vec![])
        );
        let (sticky, wrong) = read(&[
            ("affinity", "cookie"),
            ("affinity-mode", "persistent"),
            ("session-cookie-name", "route"),
            ("session-cookie-max-age", "172800"),
            ("session-cookie-expires", "60"),
            ("session-cookie-samesite", "None"),
            ("session-cookie-secure", "maybe"),
            ("session-cookie-change-on-failure", "true"),
        ]);
        let sticky = sticky.expect("a cookie");
        assert_eq!((sticky.cookie.as_str(), sticky.max_age), ("route", Some(Duration::from_secs(172_800))));
        assert_eq!((sticky.same_site, sticky.is_secure), (Some(SameSite::None), None));
        assert!(sticky.changes_on_failure);
        assert_eq!(wrong, ["session-cookie-secure"]);
    }
}
