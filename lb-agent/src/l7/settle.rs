//! The beginning of a request's way, before anything is asked of the state: what cannot be matched safely is refused, the
//! rest spelt as it is matched and forwarded.

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

use super::reply::Reply;
use super::{authority, headers, path_policy};
use crate::model::plain_path;

/// Settles host and path. Afterwards `authority::of` is the one, `parts.uri.path()` the other.
pub(super) fn settle(parts: &mut Parts) -> Result<(), Reply> {
    if parts.method == Method::CONNECT && !headers::asks_for_websocket(parts) {
        return Err(Reply::ConnectRefused);
    }
    authority::settle(parts)?;
    // HTTP/1 is looked at before it is read.
    if parts.version == Version::HTTP_2 && parts.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Reply::Malformed);
    }
    if !path_policy::is_safe(parts.uri.path()) {
        return Err(Reply::BadPath);
    }
    match plain_path(parts.uri.path()) {
        Some(plain) => set_path(&mut parts.uri, plain),
        None => Ok(()),
    }
}

fn set_path(uri: &mut Uri, mut path: String) -> Result<(), Reply> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| Reply::BadPath)?);
    *uri = Uri::from_parts(parts).map_err(|_| Reply::BadPath)?;
    Ok(())
}
