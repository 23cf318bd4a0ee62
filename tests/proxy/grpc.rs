//! gRPC calls: trailers, responses that are trailers only, streams in both directions, and our own answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use lb_agent::l7::Timeouts;
use lb_agent::model::Unavailable;
use tokio::sync::Notify;

use super::support::{
    Backend, Body, Fixture, Http, RawBackend, RequestBody, Table, body_of, eventually, protocol, quick,
};

/// A message of gRPC: not compressed, its length, itself.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).expect("a short message").to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat().into()
}

fn call(method: &str, body: RequestBody) -> Request<RequestBody> {
    let uri = format!("http://calls.example.org/shop.Shop/{method}");
    let call = Request::post(uri).header("content-type", "application/grpc+proto").header("te", "trailers");
    call.body(body).expect("a request")
}

fn unary(method: &str) -> Request<RequestBody> {
    call(method, Full::new(message("hello")).boxed_unsync())
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(status))])
}

/// Says what it was told, and then how that went.
async fn answer(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let response = Response::builder().header("content-type", "application/grpc+proto");
    let body = match parts.uri.path() {
        "/shop.Shop/Echo" => body.map_err(std::io::Error::other).boxed_unsync(),
        "/shop.Shop/Order" => {
            assert_eq!(parts.headers["te"], "trailers");
            let told = body.collect().await.expect("a whole call").to_bytes();
            let frames = [Ok(Frame::data(told)), Ok(Frame::trailers(trailers("0")))];
            body_of(StreamBody::new(stream::iter(frames)))
        }
        "/shop.Shop/Silence" => std::future::pending().await,
        _ => {
            let response = response.header("grpc-status", "12");
            return response.body(body_of(Full::new(Bytes::new()))).expect("a response");
        }
    };
    response.body(body).expect("a response")
}

async fn site() -> (Backend, Fixture, Http) {
    let backend = Backend::http2(answer).await;
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(true, None)));
    let client = Http::two(fixture.http()).await;
    (backend, fixture, client)
}

#[tokio::test]
async fn a_call_has_its_answer_and_its_status() {
    let (_backend, _fixture, mut client) = site().await;
    let response = client.begin(unary("Order")).await.expect("a response");
    assert_eq!(response.headers()["content-type"], "application/grpc+proto");
    let body = response.into_body().collect().await.expect("a whole answer");
    assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0");
    assert_eq!(body.to_bytes(), message("hello"));
}

#[tokio::test]
async fn a_status_may_come_without_an_answer() {
    let (_backend, _fixture, mut client) = site().await;
    let response = client.begin(unary("Unknown")).await.expect("a response");
    assert_eq!(response.headers()["grpc-status"], "12");
    assert!(hyper::body::Body::is_end_stream(response.body()), "its head is its end");
}

/// The labels of the one that all calls take.
const ROUTE: &str = "namespace=\"shop\",ingress=\"web\",service=\"all\"";

/// The line of the metric that says that one ended so.
fn calls(status: &str) -> String {
    format!("lb_l7_route_grpc_calls_total{{{ROUTE},status=\"{status}\"}} 1\n")
}

#[tokio::test]
async fn calls_are_counted_by_their_status() {
    let (_backend, fixture, mut client) = site().await;
    let response = client.begin(unary("Order")).await.expect("a response");
    response.into_body().collect().await.expect("a whole answer");
    client.begin(unary("Unknown")).await.expect("a response");
    eventually("both are counted", || {
        ["ok", "server_error"].iter().all(|status| fixture.exported().contains(&calls(status)))
    })
    .await;
    let errors = format!("lb_l7_route_errors_total{{{ROUTE},blame=\"upstream\"}}");
    assert_eq!(fixture.metric(&errors), 1);
}

#[tokio::test]
async fn calls_that_end_without_a_status_are_counted_too() {
    let (_backend, fixture, mut client) = site().await;
    let is_counted = |status| fixture.exported().contains(&calls(status));
    // It ends in order, and has no trailers: to its client that is UNKNOWN.
    let response = client.begin(unary("Echo")).await.expect("a response");
    response.into_body().collect().await.expect("a whole answer");
    eventually("the server failed", || is_counted("server_error")).await;
    // Its client leaves.
    let asked = tokio::time::timeout(Duration::from_millis(100), client.begin(unary("Silence")));
    assert!(asked.await.is_err(), "no answer");
    eventually("the client left", || is_counted("client_error")).await;
    assert!(!is_counted("ok"));
}

#[tokio::test]
async fn messages_go_both_ways_as_they_come() {
    let (_backend, _fixture, mut client) = site().await;
    let (say, said) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let said = stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
    let response = client.begin(call("Echo", StreamBody::new(said).boxed_unsync())).await;
    let mut heard = response.expect("a head before any message").into_body();
    for number in 0..20 {
        let sent = message(&format!("number {number}"));
        say.send(Ok(Frame::data(sent.clone()))).await.expect("the call is open");
        let part = heard.frame().await.expect("a message").expect("in order");
        assert_eq!(part.into_data().expect("data"), sent);
    }
    say.send(Ok(Frame::trailers(trailers("0")))).await.expect("the call is open");
    let end = heard.collect().await.expect("it ends in order");
    assert_eq!(end.trailers().expect("the backend gives them back")["grpc-status"], "0");
}

/// What a call is told that no endpoint answers.
async fn check(fixture: &Fixture, code: &str, message: &str) {
    let mut client = Http::two(fixture.http()).await;
    let response = client.begin(unary("Order")).await.expect("a response");
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().expect("ASCII").to_owned();
    assert_eq!(
        [header("content-type"), header("grpc-status"), header("grpc-message")],
        ["application/grpc", code, message]
    );
    assert!(!header("x-request-id").is_empty());
    assert!(hyper::body::Body::is_end_stream(response.body()));
}

#[tokio::test]
async fn our_own_answers_have_a_status_of_grpc() {
    let unavailable = Fixture::start(Table::all_unavailable(Unavailable::NoEndpoint));
    check(&unavailable, "14", "503 service unavailable: no endpoint is ready").await;
    assert_eq!(unavailable.metric("lb_l7_replies_total{reason=\"unavailable\"}"), 1);
    check(&Fixture::start(Table::default().build()), "12", "404 not found: no route for this host and path")
        .await;
    let silent = RawBackend::start(|_, stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut held = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            held.push(request);
        }
    })
    .await;
    let table = Table::all_spoken(&[silent.address], protocol(true, None));
    let message = "504 gateway timeout: the endpoint did not respond in time";
    check(&Fixture::start_quick(table), "4", message).await;
    let gone = RawBackend::start(|_, stream| async move { drop(stream) }).await;
    let table = Table::all_spoken(&[gone.address], protocol(true, None));
    check(&Fixture::start(table), "14", "502 bad gateway: no endpoint accepts connections").await;
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_no_fault_of_the_endpoint() {
    let pod = || Backend::http2(|_| std::future::pending());
    let (one, other) = (pod().await, pod().await);
    let table = Table::all_spoken(&[one.address, other.address], protocol(true, None));
    let fixture = Fixture::start_as(
        |config| config.timeouts = Timeouts { response: Duration::from_secs(60), ..quick() },
        table,
    );
    let ended = |reason: &str| fixture.metric(&format!("lb_l7_upstream_{reason}"));
    let mut client = Http::two(fixture.http()).await;
    for _ in 0..20 {
        let mut call = unary("Watch");
        call.headers_mut().insert("grpc-timeout", HeaderValue::from_static("1m"));
        assert_eq!(client.begin(call).await.expect("a response").headers()["grpc-status"], "4");
    }
    let asked = one.requests() + other.requests();
    assert!(asked >= 20, "they were asked {asked} times");
    assert_eq!(ended("ejections_total{reason=\"time_out\"}"), 0);
    assert_eq!(ended("breaches_total{reason=\"silent\"}"), 0);
    assert_eq!(
        one.connections() + other.connections(),
        2,
        "others go on over the connections that there are"
    );
}

/// What its client streams comes when there is something to say.
#[tokio::test]
async fn a_call_may_pause_as_long_as_its_own_word_lets_it() {
    let backend = Backend::http2(answer).await;
    let table = Table::all_spoken(&[backend.address], protocol(true, None));
    let fixture = Fixture::start_as(
        |config| config.timeouts = Timeouts { upload: Duration::from_millis(50), ..quick() },
        table,
    );
    let mut client = Http::two(fixture.http()).await;
    let pausing = |pause: Duration| {
        let parts = ["one", "two"].map(|text| Ok::<_, Infallible>(Frame::data(message(text))));
        let parts = stream::iter(parts).then(move |part| async move {
            tokio::time::sleep(pause).await;
            part
        });
        call("Order", StreamBody::new(parts).boxed_unsync())
    };
    // More than `response` for what is whole.
    let response = client.begin(pausing(Duration::from_millis(500))).await.expect("a response");
    let body = response.into_body().collect().await.expect("a whole answer");
    assert_eq!(body.to_bytes(), [message("one"), message("two")].concat());
    let mut call = pausing(Duration::from_secs(60));
    call.headers_mut().insert("grpc-timeout", HeaderValue::from_static("300m"));
    assert_eq!(client.begin(call).await.expect("a response").headers()["grpc-status"], "4");
    assert_eq!(fixture.metric("lb_l7_limits_reached_total{limit=\"upload-rate\"}"), 0);
}

#[tokio::test]
async fn who_is_unavailable_is_set_aside() {
    for (status, ejected) in [("14", 1), ("5", 0)] {
        let pod = || {
            Backend::http2(move |_| async move {
                let response = Response::builder().header("content-type", "application/grpc");
                response.header("grpc-status", status).body(body_of(Empty::new())).expect("a response")
            })
        };
        let (one, other) = (pod().await, pod().await);
        let table = Table::all_spoken(&[one.address, other.address], protocol(true, None));
        let fixture = Fixture::start(table);
        let mut client = Http::two(fixture.http()).await;
        for _ in 0..20 {
            let answer = client.send(unary("Order")).await;
            assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, status));
        }
        assert_eq!(fixture.metric("lb_l7_upstream_ejections_total{reason=\"status\"}"), ejected, "{status}");
    }
}

#[tokio::test]
async fn a_call_that_breaks_off_says_so() {
    let seen = Arc::new(Notify::new());
    let breaks = seen.clone();
    let backend = Backend::http2(move |_| {
        let breaks = breaks.clone();
        async move {
            let end = async move {
                breaks.notified().await;
                Err(std::io::Error::other("no status"))
            };
            let half = stream::iter([Ok(Frame::data(message("half")))]);
            let frames = half.chain(stream::once(end));
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(true, None)));
    let mut client = Http::two(fixture.http()).await;
    let mut body = client.begin(unary("Order")).await.expect("a response").into_body();
    body.frame().await.expect("a frame").expect("half of it");
    seen.notify_one();
    let error = body.collect().await.expect_err("no status came");
    let error: &h2::Error =
        std::error::Error::source(&error).and_then(|error| error.downcast_ref()).expect("a reset");
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "as the endpoint's");
}
