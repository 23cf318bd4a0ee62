//! HTTP/2 clients: by prior knowledge and by ALPN, many streams over one connection.

use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};

use super::support::{Backend, Fixture, Http, Table, all_schemes, connect_tls, text};

fn get(
    url: &str,
) -> Request<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>> {
    Request::builder().uri(url).body(Empty::new().boxed_unsync()).expect("request")
}

async fn echo() -> Backend {
    Backend::start(|request| async move {
        let header = |name| {
            request.headers().get(name).map_or("-", |value: &HeaderValue| value.to_str().unwrap_or("?"))
        };
        if request.method() == "POST" {
            return Response::new(text(header("content-length").to_owned()));
        }
        let told = format!(
            "{} {} {} {} {}",
            request.method(),
            request.uri(),
            header("host"),
            header("x-forwarded-proto"),
            header("cookie")
        );
        Response::new(text(told))
    })
    .await
}

#[tokio::test]
async fn prior_knowledge_in_the_clear() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::default().rule("a.example.org", "/", &[backend.address]).build());
    let mut client = Http::two(fixture.http()).await;
    let mut request = get("http://a.example.org/x?y=1");
    for cookie in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(cookie));
    }
    let answer = client.send(request).await;
    assert_eq!(answer.text(), "GET /x?y=1 a.example.org http a=1; b=2");
    assert_eq!(client.send(get("http://b.example.org/")).await.status, 404);
}

#[tokio::test]
async fn an_endpoint_of_http1_hears_that_a_body_is_empty() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut request = get("http://a.example.org/");
    *request.method_mut() = http::Method::POST;
    assert_eq!(Http::two(fixture.http()).await.send(request).await.text(), "0");
}

#[tokio::test]
async fn streams_share_a_connection_and_the_backends_connections() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let stream = connect_tls(fixture.https(), "a.example.org", &["h2", "http/1.1"], all_schemes()).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let Http::Two(sender) = Http::two_over(stream).await else { panic!("HTTP/2 was asked for") };
    for _ in 0..5 {
        let requests = (0..20).map(|number| {
            let mut sender = sender.clone();
            async move {
                let response = sender.send_request(get(&format!("https://a.example.org/{number}"))).await;
                let body =
                    response.expect("a response").into_body().collect().await.expect("a body").to_bytes();
                assert_eq!(body, format!("GET /{number} a.example.org https -"));
            }
        });
        futures_util::future::join_all(requests).await;
    }
    assert_eq!(backend.requests(), 100);
    assert!(backend.connections() <= 20, "{}", backend.connections());
    assert_eq!(fixture.proxy.left().total(), 1);
}

#[tokio::test]
async fn dot_segments_are_refused_over_http2_too() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::two(fixture.http()).await;
    assert_eq!(client.send(get("http://a/x/%2e%2e/y")).await.status, 400);
    assert_eq!(client.send(get("http://a/x")).await.status, 200);
}
