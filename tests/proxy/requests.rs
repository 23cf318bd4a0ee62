//! `docs/requests.md`, row by row: the page says what is so.

use http::Response;

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
        // The target is told only where it changed.
        body.strip_suffix(&format!(" `{target}`")).unwrap_or(body).to_owned()
    }
}

#[tokio::test]
async fn paths_lead_where_the_page_says() {
    let rules = Rules::start().await;
    for row in rows("| target | answer |") {
        let [target, expected] = row[..] else { panic!("{row:?}") };
        let target = quoted(target).next().expect("a target");
        assert_eq!(rules.answer(target, ["shop.example"].into_iter()).await, expected, "{target}");
    }
}

#[tokio::test]
async fn hosts_lead_where_the_page_says() {
    let rules = Rules::start().await;
    for row in rows("| target | Host | answer |") {
        let [target, hosts, expected] = row[..] else { panic!("{row:?}") };
        let target = quoted(target).next().expect("a target");
        assert_eq!(rules.answer(target, quoted(hosts)).await, expected, "{target} {hosts}");
    }
}
