//! Lines of records, and where they end up.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Uri, Version};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;
use crate::l7::outcome::{Ended, Outcome};
use crate::l7::reply::Reply;
use crate::l7::route::Names;
use crate::model::{BackendId, BackendPort, Kind, ObjectRef};

fn record(path: &'static str) -> Box<Record> {
    let service =
        BackendId { namespace: "shop".into(), service: "web".into(), port: BackendPort::Number(80) };
    let object = Arc::new(ObjectRef::new(Kind::Ingress, "shop", "front"));
    Box::new(Record {
        began: Instant::now(),
        id: HeaderValue::from_static("r1"),
        trace: None,
        client: [192, 0, 2, 7].into(),
        listener: ([203, 0, 113, 10], 443).into(),
        session: Some(Arc::new(Session { version: "TLSv1.3", sni: Some("a.org".into()) })),
        method: Some(Method::POST),
        host: Some(HeaderValue::from_static("a.org")),
        uri: Some(Uri::from_static(path)),
        version: Some(Version::HTTP_11),
        names: Some(Arc::new(Names { object, service, counts: None })),
        bytes_out: 12,
        bytes_in: 7,
        attempts: 2,
        endpoint: Some(([10, 0, 0, 1], 8080).into()),
        upstream_time: Some(Duration::from_micros(1_250)),
        took: Duration::from_micros(2_003_004),
        outcome: Outcome { status: StatusCode::default(), reply: None, call: None, ended: Ended::Whole },
    })
}

fn line(format: &str, record: &Record) -> String {
    let mut line = String::new();
    format.parse::<Format>().expect("a format").write(record, "T", &mut line);
    line
}

#[test]
fn a_line_of_json_has_what_there_is_to_say() {
    let expected = r#"{"time":"T","request_id":"r1","client":"192.0.2.7","listener":"203.0.113.10:443","tls_version":"TLSv1.3","sni":"a.org","method":"POST","host":"a.org","path":"/x?y","protocol":"HTTP/1.1","status":200,"bytes_in":7,"bytes_out":12,"duration_ms":2003.004,"upstream_ms":1.250,"namespace":"shop","ingress":"front","service":"web","endpoint":"10.0.0.1:8080","attempts":2,"complete":true}"#;
    assert_eq!(line("json", &record("/x?y")), format!("{expected}\n"));
    let refused = Record { outcome: Outcome::refused(Reply::NoRoute), names: None, ..*record("/") };
    let refused = line("json", &refused);
    let refused: serde_json::Value = serde_json::from_str(&refused).expect("JSON");
    assert_eq!((&refused["blame"], &refused["reason"]), (&"client".into(), &"no_route".into()));
    assert!(refused.get("ingress").is_none());
    let unread = Record { method: None, host: None, uri: None, version: None, ..*record("/") };
    assert_eq!(line("$method $host $path $protocol", &unread), "- - - -\n");
    let unread: serde_json::Value = serde_json::from_str(&line("json", &unread)).expect("JSON");
    assert!(
        ["method", "host", "path", "protocol"].iter().all(|field| unread.get(field).is_none()),
        "{unread}"
    );
}

#[test]
fn a_template_has_its_fields_and_no_line_gets_out_of_hand() {
    let template = r#"$client "$method $path" $status cost $5 $reason$"#;
    assert_eq!(line(template, &record("/a")), "192.0.2.7 \"POST /a\" 200 cost $5 -$\n");
    let host = HeaderValue::from_bytes(b"a\"\\\x80").expect("a value");
    let odd = Record { host: Some(host), uri: Some(Uri::from_static("/")), ..*record("/") };
    assert_eq!(line("$host", &odd), "a\\\"\\\\\u{fffd}\n");
    let error = "$nothing".parse::<Format>().expect_err("no such field").to_string();
    assert!(error.contains("there is no field $nothing; there are time, request_id"), "{error}");
}

fn settings(path: PathBuf, sample: u32) -> Settings {
    Settings { path: Some(path), format: "$path".parse().expect("a format"), sample }
}

/// Waits until a file has so many lines.
fn lines(path: &std::path::Path, count: usize) -> Vec<String> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{lines:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_was_renamed_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
    let mut registry = Registry::default();
    let log = AccessLog::start(settings(path.clone(), 1), AccessLogMetrics::new(&mut registry));
    let log = log.expect("a log");
    log.write(record("/before"));
    assert_eq!(lines(&path, 1), ["/before"]);
    fs::rename(&path, &old).expect("renamed");
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not made anew");
        log.write(record("/after"));
        std::thread::yield_now();
    }
    log.write(record("/last"));
    let started = Instant::now();
    while !fs::read_to_string(&path).expect("a file").ends_with("/last\n") {
        assert!(started.elapsed() < Duration::from_secs(20), "the last line is missing");
        std::thread::yield_now();
    }
    assert!(fs::read_to_string(&old).expect("a file").starts_with("/before\n"));
}

#[test]
fn what_ended_badly_is_logged_whatever_the_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let mut registry = Registry::default();
    let log = AccessLog::start(settings(path.clone(), u32::MAX), AccessLogMetrics::new(&mut registry));
    let log = log.expect("a log");
    log.write(record("/fine"));
    log.write(Box::new(Record { outcome: Outcome::refused(Reply::BadResponse), ..*record("/bad") }));
    assert_eq!(lines(&path, 1), ["/bad"]);
}

#[test]
fn what_there_is_no_room_for_is_counted_and_nobody_waits() {
    let mut registry = Registry::default();
    let metrics = AccessLogMetrics::new(&mut registry);
    let (records, waiting) = sync_channel(1);
    let end = LastWords::of("nobody", || ()).expect("a thread");
    let log = AccessLog { records, metrics, sample: 1, end };
    for _ in 0..3 {
        log.write(record("/"));
    }
    assert_eq!(waiting.try_iter().count(), 1);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text format");
    assert!(text.contains("access_log_lines_total{result=\"dropped\"} 2"), "{text}");
}

#[test]
fn all_is_written_before_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let log = AccessLog::start(settings(path.clone(), 1), AccessLogMetrics::new(&mut Registry::default()));
    let log = log.expect("a log");
    for _ in 0..99 {
        log.write(record("/x"));
    }
    log.write(record("/last"));
    let end = log.end();
    drop(log);
    assert!(end.wait(Duration::from_secs(20)));
    let text = fs::read_to_string(&path).expect("a file");
    assert!(text.lines().count() == 100 && text.ends_with("/last\n"), "{text}");
}

#[test]
fn a_pipe_that_nobody_reads_is_told_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let settings = Settings { path: Some(pipe), format: Format::JSON, sample: 1 };
    let started = AccessLog::start(settings, AccessLogMetrics::new(&mut Registry::default()));
    assert!(started.is_err(), "it has no reader");
}
