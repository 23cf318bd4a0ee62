//! Explanations of requests: how an agent is asked for one, and how people read it.

mod words;

use std::fmt;
use std::pin::Pin;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::model::{RequestAsked, RequestExplained};

type Told = Pin<Box<dyn Future<Output = Result<RequestExplained, String>> + Send>>;

/// Explains a request by the state of now; an error is what is wrong with the request.
pub struct ExplainRequest(Box<dyn Fn(RequestAsked) -> Told + Send + Sync>);

impl fmt::Debug for ExplainRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExplainRequest")
    }
}

impl ExplainRequest {
    /// One that explains in this way.
    pub fn new<F>(explain: impl Fn(RequestAsked) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<RequestExplained, String>> + Send + 'static,
    {
        Self(Box::new(move |asked| Box::pin(explain(asked))))
    }

    /// Explains now.
    pub(in crate::admin) fn explain(&self, asked: RequestAsked) -> Told {
        (self.0)(asked)
    }
}

/// Whether any listener forwards it.
#[must_use]
pub fn is_forwarded(explained: &RequestExplained) -> bool {
    explained.listeners.iter().any(|listener| listener.reply.is_none())
}

/// The query that asks for it.
pub(in crate::admin) fn query(asked: &RequestAsked) -> String {
    let mut pairs = vec![("host", asked.host.clone()), ("path", asked.path.clone())];
    pairs.push(("method", asked.method.clone()));
    pairs.extend(asked.headers.iter().map(|(name, value)| ("header", format!("{name}:{value}"))));
    pairs.extend(asked.sni.iter().map(|sni| ("sni", sni.clone())));
    pairs.extend(asked.from.iter().map(|from| ("from", from.to_string())));
    pairs.extend(asked.to.iter().map(|to| ("to", to.to_string())));
    let pair =
        |(name, value): (&str, String)| format!("{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC));
    pairs.into_iter().map(pair).collect::<Vec<_>>().join("&")
}

/// What a query asks for, or what is wrong with it.
pub(in crate::admin) fn asked(query: Option<&str>) -> Result<RequestAsked, String> {
    let mut asked = RequestAsked {
        host: String::new(),
        path: "/".to_owned(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        sni: None,
        from: None,
        to: None,
    };
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        let no_address = |_| format!("{name}: {value:?} is no address");
        match name {
            "host" => asked.host = value,
            "path" => asked.path = value,
            "method" => asked.method = value,
            "header" => asked.headers.push(header(&value)?),
            "sni" => asked.sni = Some(value),
            "from" => asked.from = Some(value.parse().map_err(no_address)?),
            "to" => asked.to = Some(value.parse().map_err(no_address)?),
            _ => return Err(format!("{name}: unknown; there are host, path, method, header, sni, from, to")),
        }
    }
    Ok(asked)
}

/// `Name: value`.
///
/// # Errors
/// What is wrong with it.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not of the form NAME: VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests;
