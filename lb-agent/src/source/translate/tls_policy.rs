//! `spec.tls` of IngressParameters -> the versions and cipher suites of a class.

use crate::api::TlsSettings;
use crate::model::{CipherSuite, ObjectRef, Problem, TlsPolicy, TlsVersion};

/// What a class asks for; `None` where nothing of it can be had. What is left out is the default.
pub(super) fn translate(
    name: &ObjectRef,
    settings: &TlsSettings,
    problems: &mut Vec<Problem>,
) -> Option<TlsPolicy> {
    let least = settings.min_version.as_deref().and_then(|text| {
        let found = TlsVersion::ALL.into_iter().find(|version| version.label() == text);
        let message = || format!("{text:?} is none of {}: the setting has no effect", versions());
        problems.extend(found.is_none().then(|| Problem::error(name, "spec.tls.minVersion", message())));
        found
    });
    let suites = settings.cipher_suites.as_deref().map(|names| suites(name, names, problems));
    let Some(suites) = suites else { return least.map(TlsPolicy::from_version) };
    let least = least.unwrap_or(TlsVersion::V1_2);
    let field = "spec.tls.cipherSuites";
    let policy = TlsPolicy::new(least, suites);
    match policy {
        None => {
            let message = format!("names none of TLS {least} or later: all of them are offered");
            problems.push(Problem::error(name, field, message));
        }
        Some(policy) => {
            let left_out = TlsVersion::ALL.into_iter().filter(|version| *version >= least);
            for version in left_out.filter(|version| !policy.offers(*version)) {
                let message = format!("names none of TLS {version}, which is not offered then");
                problems.push(Problem::warning(name, field, message));
            }
        }
    }
    Some(policy.unwrap_or_else(|| TlsPolicy::from_version(least)))
}

fn suites(name: &ObjectRef, names: &[String], problems: &mut Vec<Problem>) -> Vec<CipherSuite> {
    let mut suites = Vec::new();
    for (at, text) in names.iter().enumerate() {
        match CipherSuite::named(text) {
            Some(suite) => suites.push(suite),
            None => {
                let all = CipherSuite::ALL.map(CipherSuite::name).join(", ");
                let message = format!("{text:?} is none of the cipher suites that are built in: {all}");
                problems.push(Problem::error(name, format!("spec.tls.cipherSuites[{at}]"), message));
            }
        }
    }
    suites
}

fn versions() -> String {
    TlsVersion::ALL.map(TlsVersion::label).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    const OF_1_3: &str = "TLS_AES_128_GCM_SHA256";
    const OF_1_2: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

    #[track_caller]
    fn check(least: Option<&str>, suites: Option<&[&str]>, expected: Option<TlsPolicy>, problems: &[&str]) {
        let cipher_suites =
            suites.map(|suites| suites.iter().map(|&suite| suite.to_owned()).collect::<Vec<_>>());
        let settings = TlsSettings { min_version: least.map(str::to_owned), cipher_suites };
        let mut found = Vec::new();
        let name = ObjectRef::new(Kind::IngressParameters, "", "x");
        assert_eq!(translate(&name, &settings, &mut found), expected);
        let found: Vec<String> = found.iter().map(Problem::to_string).collect();
        let are_expected = found.iter().zip(problems).all(|(found, part)| found.contains(part));
        assert!(are_expected && found.len() == problems.len(), "{found:#?}");
    }

    #[test]
    fn what_is_asked_for_is_offered_and_nothing_else() {
        use CipherSuite::{Aes128Gcm, RsaAes128Gcm};
        let policy = |suites: &[CipherSuite]| TlsPolicy::new(TlsVersion::V1_2, suites.iter().copied());
        check(None, None, None, &[]);
        check(Some("1.2"), None, Some(TlsPolicy::default()), &[]);
        check(Some("1.3"), None, Some(TlsPolicy::from_version(TlsVersion::V1_3)), &[]);
        check(None, Some(&[OF_1_3, OF_1_2]), policy(&[Aes128Gcm, RsaAes128Gcm]), &[]);
        check(Some("1.3"), Some(&[OF_1_3, OF_1_2]), policy(&[Aes128Gcm]), &[]);
        let none = "spec.tls.cipherSuites: names none of TLS 1.3, which is not offered then";
        check(None, Some(&[OF_1_2]), policy(&[RsaAes128Gcm]), &[none]);
        let none = "spec.tls.cipherSuites: names none of TLS 1.2, which is not offered then";
        check(None, Some(&[OF_1_3]), policy(&[Aes128Gcm]), &[none]);
    }

    #[test]
    fn what_cannot_be_had_is_told_of() {
        let all = Some(TlsPolicy::default());
        let unknown = "spec.tls.minVersion: \"TLSv1.1\" is none of 1.2, 1.3: the setting has no effect";
        check(Some("TLSv1.1"), None, None, &[unknown]);
        let none = "error: IngressParameters x: spec.tls.cipherSuites: names none of TLS 1.2 or later";
        check(None, Some(&[]), all, &[none]);
        let unknown =
            "spec.tls.cipherSuites[0]: \"RC4-SHA\" is none of the cipher suites that are built in: TLS_";
        check(None, Some(&["RC4-SHA"]), all, &[unknown, none]);
        let none = "spec.tls.cipherSuites: names none of TLS 1.3 or later: all of them are offered";
        check(Some("1.3"), Some(&[OF_1_2]), Some(TlsPolicy::from_version(TlsVersion::V1_3)), &[none]);
    }
}
