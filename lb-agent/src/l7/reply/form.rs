//! How the proxy's own answers look: a line for people at a terminal, JSON for programs, a page for browsers.

use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// Media ranges that are looked at; nobody who wants to be understood has more before the first of ours.
const MOST: usize = 32;

/// The form that a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::l7) enum Form {
    /// `text/plain`: also for who takes anything, or nothing that we have.
    #[default]
    Plain,
    /// `application/json`
    Json,
    /// The same as `application/problem+json` (RFC 9457).
    Problem,
    /// `text/html`
    Html,
}

/// The members are those of RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

impl Form {
    /// What `Accept` asks for most (RFC 9110 section 12.5.1); of two that are asked for as much, the first.
    pub(in crate::l7) fn wanted(accept: Option<&HeaderValue>) -> Self {
        let Some(accept) = accept.and_then(|accept| accept.to_str().ok()) else {
            return Self::Plain;
        };
        let mut best = (Self::Plain, 0);
        for range in accept.split(',').take(MOST) {
            let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
            let Some(form) = Self::named(name.trim()) else { continue };
            let weight = weight(parameters);
            if weight > best.1 {
                best = (form, weight);
            }
            if weight >= WHOLE {
                break;
            }
        }
        best.0
    }

    fn named(range: &str) -> Option<Self> {
        let all = [
            ("text/html", Self::Html),
            ("application/json", Self::Json),
            ("application/problem+json", Self::Problem),
            ("text/plain", Self::Plain),
            ("text/*", Self::Plain),
            ("*/*", Self::Plain),
        ];
        all.into_iter().find(|(name, _)| range.eq_ignore_ascii_case(name)).map(|(_, form)| form)
    }

    /// As `Content-Type`.
    pub(super) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Problem => "application/problem+json",
            Self::Html => "text/html; charset=utf-8",
        })
    }

    /// A body that says this to a client whose request has this id. An id has no character that means something in any of the
    /// forms (`request_id`).
    pub(super) fn body(self, status: StatusCode, text: &str, id: &HeaderValue) -> String {
        let id = id.to_str().unwrap_or("-");
        let title = status.canonical_reason().unwrap_or_default();
        let text = text.trim_end();
        let detail = text.split_once(": ").map_or(text, |(_, detail)| detail);
        match self {
            Self::Plain => format!("{text}\nrequest id: {id}\n"),
            Self::Json | Self::Problem => {
                let problem = Problem { title, status: status.as_u16(), detail, request_id: id };
                // Of texts and a number there is always one.
                serde_json::to_string(&problem).unwrap_or_default() + "\n"
            }
            Self::Html => {
                let code = status.as_u16();
                format!(
                    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{code} {title}</title>\n\
                     <h1>{code} {title}</h1>\n<p>{detail}</p>\n<p>request id: <code>{id}</code></p>\n</html>\n"
                )
            }
        }
    }
}

/// In thousandths.
const WHOLE: u32 = 1000;

/// What `q` says; what is no weight counts as none.
fn weight(parameters: &str) -> u32 {
    let named = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or_default())
    };
    let weight = parameters.split(';').find_map(named).unwrap_or(1.0);
    (weight.clamp(0.0, 1.0) * WHOLE as f32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_is_asked_for_most() {
        for (accept, expected) in [
            ("*/*", Form::Plain),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html),
            ("application/json, text/plain, */*", Form::Json),
            ("APPLICATION/JSON;charset=utf-8", Form::Json),
            ("application/problem+json, application/json", Form::Problem),
            ("text/html;q=0.5, application/json;q=0.7", Form::Json),
            ("text/html; Q=0.5 , text/plain", Form::Plain),
            ("text/html;q=0", Form::Plain),
            ("text/html;q=nan, application/json;q=x", Form::Plain),
            ("image/png", Form::Plain),
            ("", Form::Plain),
        ] {
            assert_eq!(Form::wanted(Some(&HeaderValue::from_static(accept))), expected, "{accept:?}");
        }
        assert_eq!(Form::wanted(None), Form::Plain);
    }

    #[test]
    fn every_form_has_the_reason_and_the_id() {
        let id = HeaderValue::from_static("r-1");
        let body = |form: Form| form.body(StatusCode::NOT_FOUND, "404 not found: no route\n", &id);
        assert_eq!(body(Form::Plain), "404 not found: no route\nrequest id: r-1\n");
        let json = r#"{"title":"Not Found","status":404,"detail":"no route","request_id":"r-1"}"#;
        assert_eq!(body(Form::Json), format!("{json}\n"));
        assert_eq!(body(Form::Problem), body(Form::Json));
        let html = body(Form::Html);
        assert!(
            html.contains("<h1>404 Not Found</h1>\n<p>no route</p>\n<p>request id: <code>r-1</code>"),
            "{html}"
        );
    }
}
