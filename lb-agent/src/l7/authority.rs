//! The host that a request is for: one, well-formed, and the same wherever the request names it.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Version};

use super::reply::Reply;

/// Makes the Host header say what the request is for, so that matching and backend see the same bytes.
/// An absolute request line or `:authority` stands above a missing Host and must not contradict one.
pub(super) fn settle(parts: &mut Parts) -> Result<(), Reply> {
    let mut named = parts.headers.get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(Reply::BadHost);
    }
    match (parts.uri.authority(), header) {
        (None, Some(host)) => is_host(host.as_bytes()).then_some(()).ok_or(Reply::BadHost),
        (Some(authority), host) => {
            if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
                return Err(Reply::BadHost);
            }
            let value = from_authority(authority)?;
            parts.headers.insert(HOST, value);
            Ok(())
        }
        // HTTP/1.0 did not know the header; such a request can match rules without a host.
        (None, None) if parts.version < Version::HTTP_11 => {
            parts.headers.insert(HOST, HeaderValue::from_static(""));
            Ok(())
        }
        (None, None) => Err(Reply::BadHost),
    }
}

/// The settled Host of a request.
pub(super) fn of(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

fn from_authority(authority: &Authority) -> Result<HeaderValue, Reply> {
    let text = authority.as_str();
    match is_host(text.as_bytes()) {
        true => HeaderValue::from_str(text).map_err(|_| Reply::BadHost),
        false => Err(Reply::BadHost),
    }
}

/// A name or an address, and perhaps a port; no user information, path, space or second colon that a backend
/// might read otherwise.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|byte| *byte == b':') {
        // The colons of an IPv6 address stand inside of brackets.
        Some(colon) if !host[colon..].contains(&b']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, &[][..]),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_address = match name {
        [b'[', address @ .., b']'] => {
            address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        name => name.iter().all(is_name),
    };
    is_address && port.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn settled(version: Version, uri: &str, hosts: &[&str]) -> Result<String, Reply> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (mut parts, ()) = request.body(()).expect("request").into_parts();
        settle(&mut parts)?;
        Ok(of(&parts.headers).to_owned())
    }

    #[test]
    fn one_host_is_settled_or_the_request_refused() {
        use Version as V;
        let bad = || Err(Reply::BadHost);
        for (version, uri, hosts, expected) in [
            (V::HTTP_11, "/", &["foo.com"][..], Ok("foo.com".to_owned())),
            (V::HTTP_11, "/", &["Foo.com:8080"], Ok("Foo.com:8080".to_owned())),
            (V::HTTP_11, "/", &["[2001:db8::1]:80"], Ok("[2001:db8::1]:80".to_owned())),
            (V::HTTP_11, "/", &[""], Ok(String::new())),
            (V::HTTP_11, "/", &[], bad()),
            (V::HTTP_10, "/", &[], Ok(String::new())),
            (V::HTTP_11, "/", &["a.com", "a.com"], bad()),
            (V::HTTP_11, "/", &["a.com/x"], bad()),
            (V::HTTP_11, "/", &["user@a.com"], bad()),
            (V::HTTP_11, "/", &["a.com:b.com"], bad()),
            (V::HTTP_11, "/", &["a.com:80:80"], bad()),
            (V::HTTP_11, "/", &["[a.com]"], bad()),
            (V::HTTP_11, "/", &["[::1]b.com"], bad()),
            (V::HTTP_11, "/", &["a_b.com.:"], Ok("a_b.com.:".to_owned())),
            (V::HTTP_11, "http://a.com/x", &["a.com"], Ok("a.com".to_owned())),
            (V::HTTP_11, "http://a.com/x", &["b.com"], bad()),
            (V::HTTP_11, "http://user@a.com/x", &[], bad()),
            (V::HTTP_2, "https://a.com/x", &[], Ok("a.com".to_owned())),
            (V::HTTP_2, "/x", &[], bad()),
        ] {
            assert_eq!(settled(version, uri, hosts), expected, "{version:?} {uri} {hosts:?}");
        }
    }
}
