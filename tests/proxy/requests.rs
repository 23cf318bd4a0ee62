//! `docs/requests.md`, row by row: the page says what is so.

use http::Response;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, read_frame,
};
use super::support::{Backend, Fixture, Table, raw_exchange, text};

const PAGE: &str = include_str!("../../docs/requests.md");

/// The cells of all tables' rows with this head.
fn rows(head: &str) -> Vec<Vec<&'static str>> {
    let mut lines = PAGE.lines().skip_while(|line| *line != head);
    let cells = |line: &'static str| line.trim_matches('|').split(" | ").map(str::trim).collect();
    let found: Vec<_> = lines.by_ref().skip(2).take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!found.is_empty(), "a table with the head {head}");
    found
}

/// What stands between backticks.
fn quoted(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

struct Rules {
    fixture: Fixture,
    _backends: Vec<Backend>,
}

impl Rules {
    async fn start() -> Self {
        let mut backends = Vec::new();
        for name in ["root", "app", "login", "wild"] {
            let says = move |request: http::Request<hyper::body::Incoming>| async move {
                Response::new(text(format!("{name} `{}`", request.uri())))
            };
            backends.push(Backend::start(says).await);
        }
        let at = |index: usize| [backends[index].address];
        let table = Table::default()
            .rule("shop.example", "/", &at(0))
            .rule("shop.example", "/app", &at(1))
            .exact("shop.example", "/app/login", &at(2))
            .rule("*.wild.example", "/", &at(3));
        Self { fixture: Fixture::start(table.build()), _backends: backends }
    }

    /// What the page would say of this request.
    async fn answer(&self, target: &str, hosts: impl Iterator<Item = &str>) -> String {
        let hosts: String = hosts.map(|host| format!("host: {host}\r\n")).collect();
        let request = format!("GET {target} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = raw_exchange(self.fixture.http(), request.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{request}{answer}"));
        if status != "200" {
            return status.to_owned();
        }
        let body = answer.lines().last().expect("a body");
        unless_changed(body, target)
    }

    /// The same over HTTP/2. A request that is none there has its stream reset in the place of a 400.
    async fn answer_of_http2(&self, target: &str, hosts: &[&str]) -> String {
        let mut client = TcpStream::connect(self.fixture.http()).await.expect("connect");
        let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(target, hosts));
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &get].concat()).await.expect("sent");
        loop {
            let frame = read_frame(&mut client).await.expect("a frame");
            match (frame.kind, &frame.payload[..]) {
                // Of the static table (RFC 7541 appendix A).
                (HEADERS, [0x88, ..]) => {}
                (HEADERS, [0x8c, ..]) => return "400".to_owned(),
                (HEADERS, [0x8d, ..]) => return "404".to_owned(),
                (HEADERS, _) => panic!("{target}: {frame:?}"),
                (RST_STREAM, [0, 0, 0, 1]) => return "400".to_owned(),
                (RST_STREAM, _) => panic!("{target}: {frame:?}"),
                (DATA, body) => {
                    return unless_changed(std::str::from_utf8(body).expect("text"), path(target));
                }
                _ => {}
            }
        }
    }
}

/// The target is told only where it changed.
fn unless_changed(answer: &str, target: &str) -> String {
    answer.strip_suffix(&format!(" `{target}`")).unwrap_or(answer).to_owned()
}

/// The path of a target, which may be absolute.
fn path(target: &str) -> &str {
    match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    }
}

/// The header block of a GET: `:authority` is the host of an absolute target, or else the only Host there is.
fn fields(target: &str, hosts: &[&str]) -> Vec<u8> {
    let authority = target.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let (authority, hosts) = match (authority, hosts) {
        (None, [only]) => (Some(*only), &[][..]),
        (authority, hosts) => (authority, hosts),
    };
    // `:method: GET` and `:scheme: http`, then names of the static table, never indexed.
    let mut block = vec![0x82, 0x86];
    let mut add = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value.as_bytes());
    };
    add(&[0x14], path(target));
    authority.into_iter().for_each(|authority| add(&[0x11], authority));
    // The 38th, which is longer than four bits hold.
    hosts.iter().for_each(|host| add(&[0x1f, 38 - 15], host));
    block
}

#[tokio::test]
async fn paths_lead_where_the_page_says() {
    let rules = Rules::start().await;
    for row in rows("| target | answer |") {
        let [target, expected] = row[..] else { panic!("{row:?}") };
        let target = quoted(target).next().expect("a target");
        assert_eq!(rules.answer(target, ["shop.example"].into_iter()).await, expected, "{target}");
        assert_eq!(rules.answer_of_http2(target, &["shop.example"]).await, expected, "{target} over HTTP/2");
    }
}

#[tokio::test]
async fn hosts_lead_where_the_page_says() {
    let rules = Rules::start().await;
    for row in rows("| target | Host | answer |") {
        let [target, hosts, expected] = row[..] else { panic!("{row:?}") };
        let target = quoted(target).next().expect("a target");
        assert_eq!(rules.answer(target, quoted(hosts)).await, expected, "{target} {hosts}");
        // Not an absolute target: it has a path of its own there.
        let expected = unless_changed(expected, path(target));
        let hosts: Vec<_> = quoted(hosts).collect();
        assert_eq!(rules.answer_of_http2(target, &hosts).await, expected, "{target} {hosts:?} over HTTP/2");
    }
}
