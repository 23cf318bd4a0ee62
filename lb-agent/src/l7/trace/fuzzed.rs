//! What has to hold of the header with a trace, whatever a client says in it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::context::{Place, parent};

/// The values of `traceparent` headers, one a line: who is believed is gone on with, in the one right form.
pub fn traceparent(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in bytes.split(|byte| *byte == b'\n').take(1000) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static("traceparent"), value);
        }
    }
    let Some(believed) = parent(&headers) else { return };
    let place = Place::below(believed, 7);
    place.tell(&mut headers);
    let told = parent(&headers).expect("what we say is right");
    let next = Place::below(told, 8);
    assert_eq!((next.trace(), next.is_sampled()), (place.trace(), place.is_sampled()));
    assert_eq!(next.parent().as_deref(), Some("0000000000000007"));
}
