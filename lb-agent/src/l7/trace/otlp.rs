//! Spans as a collector reads them: OTLP 1 in JSON (opentelemetry-proto, `trace.proto`; the JSON mapping of OTLP has ids in
//! hexadecimal and 64-bit numbers as texts). Names of attributes are those of OpenTelemetry's conventions where it has one.

use http::Method;
use serde_json::{Value as Json, json};

use super::Span;
use crate::l7::access_log::{Field, Value};
use crate::l7::moment::Clock;
use crate::l7::reply::Blame;

/// `SPAN_KIND_SERVER`
const SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// A request of the collector's.
pub(super) fn body(spans: &[Box<Span>], node: &str, clock: &Clock) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", "edgelb"), ("service.version", version), ("host.name", node)];
    let resource: Vec<Json> =
        resource.into_iter().map(|(key, text)| attribute(key, &json!({ "stringValue": text }))).collect();
    let spans: Vec<Json> = spans.iter().map(|span| told(span, clock)).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "lb-agent", "version": version }, "spans": spans }],
        }],
    })
    .to_string()
}

fn told(Span { place, record }: &Span, clock: &Clock) -> Json {
    let (start, took) = (clock.nanos_of(record.began), record.took.as_nanos());
    let outcome = &record.outcome;
    let is_error = outcome.blame().is_some_and(|blame| blame != Blame::Client);
    let status = if is_error { json!({ "code": ERROR, "message": outcome.reason() }) } else { json!({}) };
    let said = |field: Field| Some(attribute(field.attribute()?, &value(field, &field.of(record, "")?)));
    let attributes: Vec<Json> = Field::ALL.into_iter().filter_map(said).collect();
    let mut told = json!({
        "traceId": place.trace(),
        "spanId": place.span(),
        "name": record.method.as_ref().map_or("HTTP", Method::as_str),
        "kind": SERVER,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + took).to_string(),
        "attributes": attributes,
        "status": status,
    });
    if let Some(parent) = place.parent() {
        told["parentSpanId"] = parent.into();
    }
    told
}

fn attribute(key: &str, value: &Json) -> Json {
    json!({ "key": key, "value": value })
}

fn value(field: Field, value: &Value<'_>) -> Json {
    match value {
        // A query may have secrets.
        Value::Text(text) if field == Field::Path => json!({ "stringValue": text.split('?').next() }),
        Value::Text(text) if field == Field::Protocol => {
            json!({ "stringValue": text.trim_start_matches("HTTP/") })
        }
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Milliseconds(time) => json!({ "doubleValue": time.as_secs_f64() * 1e3 }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
    }
}
