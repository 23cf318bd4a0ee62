//! Responses that come bit by bit for as long as they like (Server-Sent Events), and those that are waited for (long polling):
//! nothing is held back, and no limit meant for others ends them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use lb_agent::l7::{Config, Timeouts};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::support::{
    Backend, Fixture, Http, RequestBody, Table, body_of, quick, request, text, with_head_time,
};

/// Longer than all that is set here but for responses.
const PAUSE: Duration = Duration::from_millis(700);

/// Far more than a part takes that nobody holds back.
const SOON: Duration = Duration::from_secs(5);

/// A backend that gives whoever asks the other end of its response.
async fn events() -> (Backend, tokio::sync::mpsc::UnboundedReceiver<UnboundedSender<Bytes>>) {
    let (opened, responses) = unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, sent) = unbounded_channel();
        opened.send(events).expect("somebody listens");
        let parts = stream::unfold(sent, |mut sent| async { Some((sent.recv().await?, sent)) });
        let body = body_of(StreamBody::new(parts.map(|part| Ok(Frame::data(part)))));
        async {
            Response::builder().header("content-type", "text/event-stream").body(body).expect("a response")
        }
    })
    .await;
    (backend, responses)
}

/// Everything is quick but for responses.
fn impatient(config: &mut Config) {
    config.timeouts = Timeouts { response: Duration::from_secs(10), ..quick() };
    config.limits = with_head_time(config.limits, 300);
}

async fn client(fixture: &Fixture, is_http2: bool) -> (Http, Request<RequestBody>) {
    match is_http2 {
        false => (Http::one(fixture.http()).await, request("a", "/")),
        true => (Http::two(fixture.http()).await, request("a", "http://a/")),
    }
}

async fn next(body: &mut Incoming) -> Bytes {
    let frame = timeout(SOON, body.frame()).await.expect("it is not held back");
    frame.expect("no end").expect("a frame").into_data().expect("data")
}

#[tokio::test]
async fn events_come_one_by_one_and_nothing_ends_them() {
    let (backend, mut responses) = events().await;
    let fixture = Fixture::start_as(impatient, Table::all_to(&[backend.address]));
    let mut open = Vec::new();
    for is_http2 in [false, true] {
        let (mut client, asked) = client(&fixture, is_http2).await;
        // Its head comes before there is an event.
        let response =
            timeout(SOON, client.begin(asked)).await.expect("it is not held back").expect("a head");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let events = responses.recv().await.expect("it was asked");
        open.push((client, response.into_body(), events));
    }
    for number in 0..3 {
        for (_, body, events) in &mut open {
            let event = format!("data: {number}\n\n");
            events.send(event.clone().into()).expect("it is open");
            // The next one is not sent before this one is there.
            assert_eq!(next(body).await, event);
        }
        sleep(PAUSE).await;
    }
    for (_client, body, events) in open {
        drop(events);
        let rest = timeout(SOON, body.collect()).await.expect("an end").expect("in order");
        assert!(rest.to_bytes().is_empty());
    }
    assert_eq!(fixture.metric("lb_l7_limits_reached_total{limit=\"download-rate\"}"), 0);
}

#[tokio::test]
async fn an_answer_that_is_waited_for_comes_however_quick_all_else_is() {
    let backend = Backend::start(|_| async {
        sleep(2 * PAUSE).await;
        Response::new(text("at last"))
    })
    .await;
    let fixture = Fixture::start_as(impatient, Table::all_to(&[backend.address]));
    let (mut one, asked) = client(&fixture, false).await;
    let (mut two, asked_of_two) = client(&fixture, true).await;
    let (first, second) = tokio::join!(one.send(asked), two.send(asked_of_two));
    assert_eq!((first.text(), second.text()), ("at last", "at last"));
    assert_eq!(backend.requests(), 2, "each was sent once");
}
