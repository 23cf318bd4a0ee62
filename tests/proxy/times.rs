//! How long requests may take, and what is tried again, as a Service or ingress-nginx' annotations of an Ingress say.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::support::{Backend, Http, RawBackend, Shop, Site, body_of, request, text};

/// A pod that takes requests and answers none.
async fn silent() -> Backend {
    Backend::start(|_| std::future::pending()).await
}

/// One that is out of order, and says so.
async fn busy() -> Backend {
    Backend::start(|_| async {
        let mut response = Response::new(text("busy"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await
}

fn nginx(pairs: &[(&str, &str)]) -> Value {
    let key = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    pairs.iter().map(|(name, value)| (key(name), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

async fn open(shop: Shop, pods: &[&Backend]) -> Site {
    let site = shop.open(pods).await;
    assert_eq!(site.problems, Vec::<String>::new());
    site
}

/// The status of a request of this method.
async fn ask(site: &Site, method: Method) -> u16 {
    let mut asked = request("a", "/");
    *asked.method_mut() = method;
    Http::one(site.http()).await.send(asked).await.status.as_u16()
}

#[tokio::test]
async fn who_is_silent_for_one_try_is_left_for_another() {
    for shop in [
        Shop::of(json!({"edgelb.dev/timeouts": "try=1s"})),
        Shop { ingress: nginx(&[("proxy-read-timeout", "1")]), ..Shop::default() },
    ] {
        let (good, bad) = (Backend::says("good").await, silent().await);
        let site = open(shop, &[&good, &bad]).await;
        while bad.requests() == 0 {
            assert_eq!(ask(&site, Method::GET).await, 200);
        }
        assert_eq!(site.metric("lb_l7_upstream_retries_total{outcome=\"retried\"}"), 1);
    }
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_not_tried_again_unless_that_is_wanted() {
    let on = "tries=2, on=timeout any-method";
    for (retries, expected) in [("tries=2", 504), (on, 200)] {
        let (good, bad) = (Backend::says("good").await, silent().await);
        let service = json!({"edgelb.dev/timeouts": "try=1s", "edgelb.dev/retries": retries});
        let site = open(Shop::of(service), &[&good, &bad]).await;
        let mut status = 200;
        while bad.requests() == 0 {
            status = ask(&site, Method::POST).await;
        }
        assert_eq!(status, expected, "{retries}");
    }
}

#[tokio::test]
async fn all_tries_have_a_time_together() {
    let (one, two, three) = (silent().await, silent().await, silent().await);
    let service = json!({"edgelb.dev/timeouts": "try=2s, request=5s", "edgelb.dev/retries": "tries=3"});
    let site = open(Shop::of(service), &[&one, &two, &three]).await;
    let began = Instant::now();
    assert_eq!(ask(&site, Method::GET).await, 504);
    // Times are kept in ticks of half a second, of which the first had begun.
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(one.requests() + two.requests() + three.requests(), 2, "there is no time for a third");
}

#[tokio::test]
async fn a_status_may_send_a_request_to_another_endpoint() {
    for shop in [
        Shop::of(json!({"edgelb.dev/retries": "on=error 503"})),
        Shop { ingress: nginx(&[("proxy-next-upstream", "error http_503")]), ..Shop::default() },
    ] {
        let (good, bad) = (Backend::says("good").await, busy().await);
        let site = open(shop, &[&good, &bad]).await;
        while bad.requests() == 0 {
            assert_eq!(ask(&site, Method::GET).await, 200);
        }
    }
    let (one, two) = (busy().await, busy().await);
    let site = open(Shop::of(json!({"edgelb.dev/retries": "on=503, tries=5"})), &[&one, &two]).await;
    assert_eq!(ask(&site, Method::GET).await, 503, "it is the last word where nobody has another one");
    assert_eq!((one.requests(), two.requests()), (1, 1));
}

#[tokio::test]
async fn nothing_is_tried_again_where_that_is_not_wanted() {
    let bad = RawBackend::start(|_, mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
    })
    .await;
    let gone = Backend::says("gone").await;
    let (closed, good) = (gone.address, Backend::says("good").await);
    drop(gone);
    for (shop, address) in [
        (Shop { ingress: nginx(&[("proxy-next-upstream", "off")]), ..Shop::default() }, bad.address),
        (Shop::of(json!({"edgelb.dev/retries": "tries=1"})), bad.address),
        (Shop { ingress: nginx(&[("proxy-next-upstream", "off")]), ..Shop::default() }, closed),
    ] {
        let mut site = shop.open(&[]).await;
        shop.tell_of(&mut site, &[good.address, address]);
        let mut statuses = Vec::new();
        // The one that fails is asked first of all by one of two.
        while !statuses.contains(&502) {
            statuses.push(ask(&site, Method::GET).await);
            assert!(statuses.len() < 1000);
        }
        assert_eq!(site.metric("lb_l7_upstream_retries_total{outcome=\"retried\"}"), 0);
    }
}

#[tokio::test]
async fn a_response_that_does_not_go_on_is_broken_off() {
    let stuck = |http2| async move {
        let speaks = super::support::Speaks { http2, tls: None };
        Backend::speaking(speaks, |_| async {
            let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from("first")))]);
            let never = futures_util::stream::pending();
            let body = StreamBody::new(futures_util::StreamExt::chain(first, never));
            Response::new(body_of(body))
        })
        .await
    };
    for (protocol, http2) in [("HTTP", false), ("H2C", true)] {
        let pod = stuck(http2).await;
        let ingress = json!({"edgelb.dev/backend-protocol": protocol});
        let site = open(Shop { service: json!({"edgelb.dev/timeouts": "read=1s"}), ingress }, &[&pod]).await;
        let mut client = Http::one(site.http()).await;
        let mut body = client.begin(request("a", "/")).await.expect("a response").into_body();
        let first = body.frame().await.expect("a frame").expect("it comes");
        assert_eq!(first.into_data().expect("data"), "first");
        assert!(body.frame().await.is_none_or(|frame| frame.is_err()), "{protocol}");
        assert_eq!(site.metric("lb_l7_upstream_breaches_total{reason=\"slow_body\"}"), 1, "{protocol}");
    }
}

#[tokio::test]
async fn a_connection_has_its_own_time() {
    // It is open, and the handshake gets no answer.
    let deaf = RawBackend::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let ingress = json!({"edgelb.dev/backend-protocol": "HTTPS"});
    let shop = Shop { service: json!({"edgelb.dev/timeouts": "connect=1s"}), ingress };
    let mut site = shop.open(&[]).await;
    shop.tell_of(&mut site, &[deaf.address]);
    let began = Instant::now();
    assert_eq!(ask(&site, Method::GET).await, 502);
    assert!(began.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn a_call_may_say_how_long_it_takes() {
    let pod = Backend::http2(|_| std::future::pending()).await;
    let ingress = json!({"edgelb.dev/backend-protocol": "GRPC"});
    let site = open(Shop { ingress, ..Shop::default() }, &[&pod]).await;
    let call = Request::post("http://a/service/Method").header("content-type", "application/grpc");
    let call = call.header("te", "trailers").header("grpc-timeout", "1S");
    let call = call.body(Empty::new().boxed_unsync()).expect("a call");
    let answer = Http::two(site.http()).await.send(call).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "4"), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let pod = Backend::says("pod").await;
    let service = json!({"edgelb.dev/timeouts": "try=5", "edgelb.dev/retries": "on=never"});
    let ingress = nginx(&[("proxy-read-timeout", "soon"), ("proxy-next-upstream", "sometimes")]);
    let site = Shop { service, ingress }.open(&[&pod]).await;
    let said = site.problems.join("\n");
    for part in [
        "metadata.annotations[edgelb.dev/timeouts]: try: \"5\" is not a time",
        "metadata.annotations[edgelb.dev/retries]: on: \"never\" is not some of connect",
        "proxy-read-timeout]: \"soon\" is not a number of seconds",
        "proxy-next-upstream]: \"sometimes\" is not off, or some of error",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(ask(&site, Method::GET).await, 200);
}
