//! `status.loadBalancer` of Services and Ingresses: applied with one field manager, forced, by the leader alone.
//! Never emptied but by `clear`: a cluster without a leader keeps its addresses.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::error::{Remedy, StatusError, write};
use super::pace::{Bucket, backoff};
use super::queue::Queue;
use crate::api::MANAGER;
use crate::metrics::{StatusMetrics, Written};
use crate::model::{Kind, ObjectRef, Report};

/// Requests at a time.
const AT_ONCE: usize = 8;

/// What somebody else's write came between is tried again after this.
const SOON: Duration = Duration::from_secs(2);

/// Whether this process still leads is looked at again after this.
const LOOK: Duration = Duration::from_millis(100);

/// What was refused is tried again after this: somebody may have mended the rights.
const REFUSED: Duration = Duration::from_secs(60);

/// So many refusals in a row, and it is no single object that breaks a rule: a right is missing for all of them.
const MANY: u32 = 8;

/// Writes addresses while this process leads.
pub(super) struct Addresses {
    pub(super) client: Client,
    pub(super) reports: watch::Receiver<Option<Arc<Report>>>,
    /// Until when this process leads.
    pub(super) until: watch::Receiver<Option<Instant>>,
    pub(super) patience: Duration,
    pub(super) bucket: Bucket,
    pub(super) metrics: StatusMetrics,
}

/// The end of a request.
struct Answer {
    object: ObjectRef,
    result: Result<(), StatusError>,
}

impl Addresses {
    /// Does it, for as long as it is polled.
    pub(super) async fn run(mut self) -> Infallible {
        let mut queue = Queue::default();
        let mut requests = FuturesUnordered::new();
        let mut outage = Outage::default();
        loop {
            self.metrics.pending.set(queue.len() as i64);
            let wait = self.wait(&queue, requests.len(), &outage);
            tokio::select! {
                // In this order, for the token is taken already; the bound of requests lets the others come.
                biased;
                () = until(wait) => {
                    // After a sleep of the whole machine another may lead, and know better.
                    if !self.leads() {
                        sleep(LOOK).await;
                    } else if let Some((object, addresses)) = queue.next() {
                        requests.push(self.request(object, addresses));
                    }
                }
                Some(answer) = requests.next() => {
                    let heard = settle(&mut queue, answer, outage.refusals);
                    if outage.note(heard) {
                        queue.retry(Instant::now());
                    }
                }
                Ok(()) = self.reports.changed() => self.take_in(&mut queue),
            }
        }
    }

    fn leads(&self) -> bool {
        self.until.borrow().is_some_and(|until| until > Instant::now())
    }

    fn take_in(&mut self, queue: &mut Queue) {
        let report = self.reports.borrow_and_update().clone();
        if let Some(report) = report {
            queue.update(&report.addresses, Instant::now());
        }
        let contested = queue.take_contested();
        if let Some(object) = contested.first() {
            let objects = contested.len();
            warn!(%object, objects, "its status is not as it was written: another controller writes it, too");
        }
    }

    /// How long until the next request may go out; `None` while there is none, or too many are out.
    fn wait(&mut self, queue: &Queue, at_once: usize, outage: &Outage) -> Option<Duration> {
        if !queue.has_next() || at_once >= AT_ONCE {
            return None;
        }
        let now = Instant::now();
        let paused = outage.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if !paused.is_zero() {
            return Some(paused);
        }
        Some(self.bucket.take(now).err().unwrap_or_default())
    }

    fn request(
        &self,
        object: ObjectRef,
        addresses: Option<Arc<[IpAddr]>>,
    ) -> impl Future<Output = Answer> + use<> {
        let (client, patience, metrics) = (self.client.clone(), self.patience, self.metrics.clone());
        async move {
            let result = apply(&client, &object, addresses.as_deref(), patience, &metrics).await;
            Answer { object, result }
        }
    }
}

async fn until(wait: Option<Duration>) {
    match wait {
        Some(Duration::ZERO) => {}
        Some(wait) => sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// What became of a request, as far as it matters to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    /// The server took it, or said something about this object.
    Answer,
    /// It was refused.
    Refusal,
    /// The server cannot be asked, and said for how long if it said anything.
    Away(Option<Duration>),
}

/// The API server does not answer, wants to be left alone, or refuses everything.
#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    refusals: u32,
    until: Option<Instant>,
}

impl Outage {
    /// Takes in what became of a request; says whether all that was refused is to be tried again.
    fn note(&mut self, heard: Heard) -> bool {
        let wait = match heard {
            Heard::Answer => return std::mem::take(self).refusals >= MANY,
            Heard::Refusal => {
                self.refusals += 1;
                if self.refusals < MANY {
                    return false;
                }
                None
            }
            Heard::Away(wait) => wait,
        };
        // Requests that went out together fail together: that counts once.
        if self.until.is_none_or(|until| until <= Instant::now()) {
            self.failures += 1;
            self.until = Some(Instant::now() + wait.unwrap_or_else(|| backoff(self.failures)));
        }
        false
    }
}

/// Puts an answer into the queue, after so many refusals in a row: each of thousands of objects need not be told of.
fn settle(queue: &mut Queue, Answer { object, result }: Answer, refusals: u32) -> Heard {
    let now = Instant::now();
    let Err(error) = result else {
        queue.written(&object, now);
        return Heard::Answer;
    };
    match error.remedy() {
        Remedy::Later(wait) => {
            debug!(%object, %error, "its addresses are written later");
            queue.put_back(&object);
            return Heard::Away(wait);
        }
        // It was deleted: the source will hear of it, too.
        Remedy::Missing => queue.put_off(&object, now + REFUSED),
        Remedy::LookAgain => queue.put_off(&object, now + SOON),
        Remedy::Hopeless => {
            if refusals == 0 {
                warn!(%object, %error, "its addresses are not written, and perhaps no other's: tried again later");
            } else {
                debug!(%object, %error, "its addresses are not written");
            }
            queue.put_off(&object, now + REFUSED);
            return Heard::Refusal;
        }
    }
    Heard::Answer
}

/// Writes the addresses of a Service or an Ingress, or gives them up; those of other kinds have none.
async fn apply(
    client: &Client,
    object: &ObjectRef,
    addresses: Option<&[IpAddr]>,
    patience: Duration,
    metrics: &StatusMetrics,
) -> Result<(), StatusError> {
    let ObjectRef { kind, namespace, name } = object;
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(body(object, addresses));
    match kind {
        Kind::Service => {
            let api: Api<Service> = Api::namespaced(client.clone(), namespace);
            let request = api.patch_status(name, &params, &patch);
            write(Written::Service, metrics, patience, request).await.map(drop)
        }
        Kind::Ingress => {
            let api: Api<Ingress> = Api::namespaced(client.clone(), namespace);
            let request = api.patch_status(name, &params, &patch);
            write(Written::Ingress, metrics, patience, request).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// A Service's addresses are for a proxy that answers by itself: nodes must not take their packets away from it. What is
/// applied without a status has none of ours: the server removes what nobody else wants there.
fn body(object: &ObjectRef, addresses: Option<&[IpAddr]>) -> Value {
    let is_service = object.kind == Kind::Service;
    let ingress = |address: &IpAddr| match is_service {
        true => json!({ "ip": address, "ipMode": "Proxy" }),
        false => json!({ "ip": address }),
    };
    let mut body = json!({
        "apiVersion": if is_service { "v1" } else { "networking.k8s.io/v1" },
        "kind": object.kind.as_str(),
        "metadata": { "namespace": object.namespace, "name": object.name },
    });
    if let Some(addresses) = addresses {
        let ingress: Vec<_> = addresses.iter().map(ingress).collect();
        body["status"] = json!({ "loadBalancer": { "ingress": ingress } });
    }
    body
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{Request, Response};
    use kube::client::Body;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::model::Published;

    #[test]
    fn services_and_ingresses_have_addresses_of_their_own_form() {
        let addresses = [IpAddr::from([203, 0, 113, 10])];
        let status = |kind| body(&ObjectRef::new(kind, "shop", "web"), Some(&addresses))["status"].take();
        assert_eq!(
            status(Kind::Service),
            json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.10", "ipMode": "Proxy" }] } })
        );
        assert_eq!(
            status(Kind::Ingress),
            json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.10" }] } })
        );
        let web = ObjectRef::new(Kind::Ingress, "shop", "web");
        assert_eq!(body(&web, Some(&[]))["status"], json!({ "loadBalancer": { "ingress": [] } }));
        assert_eq!(body(&web, None).get("status"), None, "given up");
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let mut outage = Outage::default();
        assert!((0..8).all(|_| !outage.note(Heard::Away(None))));
        assert_eq!(outage.failures, 1);
        assert!(!outage.note(Heard::Answer));
        assert!(outage.until.is_none());
    }

    #[tokio::test]
    async fn who_slept_through_the_end_of_its_time_writes_nothing() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let answer = move |_: Request<Body>| {
            _ = tell.send(());
            std::future::ready(
                Response::builder().status(200).body(Body::from(br#"{"metadata":{}}"#.to_vec())),
            )
        };
        let published =
            Published { wanted: Some([IpAddr::from([203, 0, 113, 10])].into()), is_current: false };
        let web = ObjectRef::new(Kind::Ingress, "shop", "web");
        let report = Report { addresses: BTreeMap::from([(web, published)]), ..Report::default() };
        let (term, until) = watch::channel(Some(Instant::now()));
        let (reports, reported) = watch::channel(None);
        let addresses = Addresses {
            client: Client::new(tower::service_fn(answer), "default"),
            reports: reported,
            until,
            patience: Duration::from_secs(5),
            bucket: Bucket::new(100, 100, Instant::now()),
            metrics: StatusMetrics::new(&mut Registry::default()),
        };
        reports.send_replace(Some(Arc::new(report)));
        let look = async {
            tokio::time::timeout(LOOK * 5, told.recv()).await.expect_err("it is another's time");
            term.send_replace(Some(Instant::now() + Duration::from_secs(60)));
            tokio::time::timeout(Duration::from_secs(10), told.recv()).await.expect("its time goes on")
        };
        tokio::select! {
            never = addresses.run() => match never {},
            told = look => assert_eq!(told, Some(())),
        }
    }

    #[test]
    fn who_refuses_everything_is_asked_rarely_until_it_takes_something() {
        let mut outage = Outage::default();
        assert!((1..MANY).all(|_| !outage.note(Heard::Refusal)));
        assert!(outage.until.is_none(), "each of a few may break a rule");
        assert!(!outage.note(Heard::Refusal));
        assert!(outage.until.is_some());
        assert!(outage.note(Heard::Answer), "the right is back: all the others may be tried");
        assert!(outage.until.is_none() && !outage.note(Heard::Answer));
    }
}
