//! What comes of checks, without any being made.

use std::time::Duration;

use prometheus_client::registry::Registry;

use super::*;
use crate::metrics::Metrics;
use crate::model::{BackendPort, Treatment};

fn checks() -> Checks {
    let mut checks = Checks::new(Secured::new().expect("TLS"), Metrics::new(&mut Registry::default()).checks);
    // Nobody asks: what comes of checks, the tests say.
    checks.thread = Some(Thread { new: mpsc::unbounded_channel().0, handle: std::thread::spawn(|| {}) });
    checks
}

fn backend(name: &str, ports: &[u16]) -> Backend {
    let id = BackendId { namespace: "a".into(), service: name.into(), port: BackendPort::Number(80) };
    let hour = Duration::from_secs(3600);
    let check = HealthCheck {
        path: "/".parse().expect("a path"),
        host: None,
        interval: hour,
        timeout: hour,
        healthy: 1,
        unhealthy: 1,
        status: 200..=200,
    };
    let treatment = Treatment { check: Some(Arc::new(check)), ..Treatment::default() };
    let endpoints = Ok(ports.iter().map(|port| SocketAddr::from(([192, 0, 2, 1], *port))).collect());
    Backend { id, protocol: BackendProtocol::default(), treatment, endpoints }
}

fn fail(checks: &Checks, group: &Group, place: usize, is_failing: bool) {
    group.members[place].note(CheckResult::Status(503), is_failing);
    checks.register.changed(&group.members[place]);
}

#[test]
fn backends_share_the_checks_of_their_endpoints() {
    let mut checks = checks();
    let (one, other) = (backend("one", &[1, 2, 3, 4]), backend("other", &[2, 5]));
    let (one, other) = (checks.group(&one).expect("checks"), checks.group(&other).expect("checks"));
    assert!(Arc::ptr_eq(&one.members[1], &other.members[0]));
    fail(&checks, &one, 1, true);
    assert!(one.is_out(1) && !one.is_out(0) && other.is_out(0));
    let failing = CheckState { is_failing: true, last: CheckResult::Status(503) };
    assert_eq!(checks.register.state(one.members[1].subject.address), Some(failing));
    assert_eq!(checks.metrics.failing.get(), 1, "it is one endpoint");
    drop((one, other));
    assert_eq!(checks.metrics.failing.get(), 0);
    checks.forget_unused();
    assert!(checks.register.lock().subjects.is_empty() && checks.register.lock().groups.is_empty());
    let none = Backend { treatment: Treatment::default(), ..backend("none", &[1]) };
    assert!(checks.group(&none).is_none());
}

#[test]
fn where_most_fail_all_are_used() {
    let mut checks = checks();
    let group = checks.group(&backend("a", &[1, 2, 3])).expect("checks");
    fail(&checks, &group, 0, true);
    assert!(group.is_out(0));
    fail(&checks, &group, 1, true);
    assert!((0..3).all(|place| !group.is_out(place)) && checks.metrics.panicking.get() == 1);
    let later = checks.group(&backend("a", &[1, 2])).expect("checks");
    assert!((0..2).all(|place| !later.is_out(place)), "from the beginning");
    assert_eq!(checks.metrics.panicking.get(), 2);
    fail(&checks, &group, 0, false);
    assert!(group.is_out(1) && later.is_out(1) && checks.metrics.panicking.get() == 0);
}

#[test]
fn who_is_well_again_is_back_once() {
    let mut checks = checks();
    let group = checks.group(&backend("a", &[1, 2, 3])).expect("checks");
    let watch = Watch::new(group.clone());
    assert_eq!(watch.health(0), Health::Well);
    fail(&checks, &group, 0, true);
    assert_eq!([0, 1, 0].map(|place| watch.health(place)), [Health::Out, Health::Well, Health::Out]);
    fail(&checks, &group, 0, false);
    assert_eq!([0, 0].map(|place| watch.health(place)), [Health::Back, Health::Well]);
    fail(&checks, &group, 0, true);
    let later = Watch::new(group.clone());
    fail(&checks, &group, 0, false);
    assert_eq!(later.health(0), Health::Back, "it was out at the beginning");
    assert_eq!(watch.health(0), Health::Well, "nobody asked meanwhile");
}

#[test]
fn who_is_used_because_most_fail_is_not_back() {
    let mut checks = checks();
    let group = checks.group(&backend("a", &[1, 2, 3])).expect("checks");
    let watch = Watch::new(group.clone());
    fail(&checks, &group, 0, true);
    assert_eq!(watch.health(0), Health::Out);
    fail(&checks, &group, 1, true);
    assert_eq!([0, 1].map(|place| watch.health(place)), [Health::Well; 2], "all are needed at once");
    fail(&checks, &group, 0, false);
    assert_eq!(watch.health(0), Health::Well, "it had requests");
    assert_eq!(watch.health(1), Health::Out);
}
