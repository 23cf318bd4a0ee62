//! What is spoken with endpoints: HTTP/1.1 and HTTP/2, each in the clear and over TLS, whatever the client speaks.

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use super::support::{Answer, Backend, Fixture, Http, Speaks, Table, body_of, protocol, request, text};

/// What came, as text.
async fn echo(request: Request<hyper::body::Incoming>) -> Response<super::support::Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body");
    let trailer = body.trailers().and_then(|trailers| trailers.get("x-sum").cloned());
    let header = |name: &str| parts.headers.get(name).map_or("-", |value| value.to_str().unwrap_or("?"));
    let told = format!(
        "{:?} {} {} host={} te={} connection={} expect={} proto={} body={} sum={}",
        parts.version,
        parts.method,
        parts.uri,
        header("host"),
        header("te"),
        header("connection"),
        header("expect"),
        header("x-forwarded-proto"),
        body.to_bytes().len(),
        trailer.map_or_else(|| "-".to_owned(), |sum| sum.to_str().unwrap_or("?").to_owned()),
    );
    Response::new(text(told))
}

/// A proxy in front of a backend that speaks this.
async fn site(http2: bool, tls: bool) -> (Backend, Fixture) {
    let alpn = if http2 { "h2" } else { "http/1.1" };
    let speaks = if tls { Speaks::tls(http2, &[alpn]) } else { Speaks { http2, tls: None } };
    let backend = Backend::speaking(speaks, echo).await;
    let spoken = protocol(http2, tls.then_some("shop.default.svc"));
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], spoken));
    (backend, fixture)
}

const ALL: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

#[tokio::test]
async fn every_client_reaches_every_endpoint() {
    for (http2, tls) in ALL {
        let (backend, fixture) = site(http2, tls).await;
        let expected = match (http2, tls) {
            (false, _) => "HTTP/1.1 GET /x?y=1 host=a.example.org".to_owned(),
            (true, false) => "HTTP/2.0 GET http://a.example.org/x?y=1 host=-".to_owned(),
            (true, true) => "HTTP/2.0 GET https://a.example.org/x?y=1 host=-".to_owned(),
        };
        let expected = format!("{expected} te=- connection=- expect=- proto=http body=0 sum=-");
        let mut one = Http::one(fixture.http()).await;
        let mut two = Http::two(fixture.http()).await;
        for _ in 0..3 {
            assert_eq!(one.send(request("a.example.org", "/x?y=1")).await.text(), expected);
            let mut get = request("a.example.org", "http://a.example.org/x?y=1");
            get.headers_mut().remove("host");
            assert_eq!(two.send(get).await.text(), expected);
        }
        assert_eq!(backend.connections(), 1, "one after the other, they share a connection");
    }
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    for (http2, tls) in ALL {
        let (_backend, fixture) = site(http2, tls).await;
        for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
            let uri = if matches!(client, Http::One(_)) { "/up" } else { "http://a/up" };
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().expect("a value"));
            let part = |byte: u8| Ok::<_, std::convert::Infallible>(Frame::data(vec![byte; 200_000].into()));
            let frames = [part(1), part(2), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
            let post = Request::post(uri).header("te", "trailers").header("trailer", "x-sum");
            let post = if uri == "/up" { post.header("host", "a") } else { post };
            let answer = client.send(post.body(body).expect("a request")).await;
            let told = answer.text();
            assert!(told.contains("te=trailers") && told.ends_with("body=400000 sum=7"), "{told}");
        }
    }
}

#[tokio::test]
async fn trailers_of_responses_are_passed_on() {
    for http2 in [false, true] {
        let backend = Backend::speaking(Speaks { http2, tls: None }, |_| async {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().expect("a value"));
            let frames = [Ok(Frame::data("body".into())), Ok(Frame::trailers(trailers))];
            let body = body_of(StreamBody::new(futures_util::stream::iter(frames)));
            Response::builder().header("trailer", "x-sum").body(body).expect("a response")
        })
        .await;
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, None)));
        for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
            let uri = if matches!(client, Http::One(_)) { "/" } else { "http://a/" };
            let mut get = request("a", uri);
            get.headers_mut().insert("te", "trailers".parse().expect("a value"));
            let body = client.begin(get).await.expect("a response").into_body();
            let collected = body.collect().await.expect("a whole body");
            let trailers = collected.trailers().expect("trailers");
            assert_eq!(trailers["x-sum"], "7", "{uri} of {http2}");
        }
    }
}

#[tokio::test]
async fn what_has_no_body_has_none() {
    for http2 in [false, true] {
        let backend = Backend::speaking(Speaks { http2, tls: None }, |request: Request<_>| async move {
            let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
            let response = Response::builder().status(status);
            let is_empty = request.method() == http::Method::HEAD || status != 200;
            response.body(text(if is_empty { "" } else { "body" })).map_or_else(
                |_| unreachable!(),
                |mut response| {
                    if request.method() == http::Method::HEAD {
                        response.headers_mut().insert("content-length", "4".parse().expect("a value"));
                    }
                    response
                },
            )
        })
        .await;
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, None)));
        for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
            let base = if matches!(client, Http::One(_)) { "" } else { "http://a" };
            for (path, status) in [("/204", 204), ("/304", 304), ("/200", 200)] {
                let answer: Answer = client.send(request("a", &format!("{base}{path}"))).await;
                let expected = if status == 200 { "body" } else { "" };
                assert_eq!((answer.status.as_u16(), answer.text()), (status, expected));
            }
            let mut head = request("a", &format!("{base}/200"));
            *head.method_mut() = http::Method::HEAD;
            let answer = client.send(head).await;
            assert_eq!((answer.header("content-length"), answer.text()), ("4", ""), "{base} of {http2}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_it_gets_nothing() {
    // HTTP/2 in the clear from one that speaks HTTP/1.1; over TLS from one that does not choose it; TLS from none.
    let clear = Backend::start(echo).await;
    let tls = Backend::speaking(Speaks::tls(false, &["http/1.1"]), echo).await;
    let plain = Backend::speaking(Speaks::tls(false, &[]), echo).await;
    for (backend, http2, name) in
        [(&clear, true, None), (&tls, true, Some("a")), (&plain, true, Some("a")), (&clear, false, Some("a"))]
    {
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, name)));
        let body = Full::new("body".into()).boxed_unsync();
        let post = Request::post("/").header("host", "a").body(body).expect("a request");
        let answer = Http::one(fixture.http()).await.send(post).await;
        assert_eq!(answer.status, 502, "{http2} {name:?}");
        assert_eq!(fixture.metric("lb_l7_upstream_connects_total{result=\"failed\"}"), 1);
    }
    assert_eq!((clear.requests(), tls.requests(), plain.requests()), (0, 0, 0));
    // Without ALPN, HTTP/1.1 is what is spoken over TLS.
    let fixture = Fixture::start(Table::all_spoken(&[plain.address], protocol(false, Some("a"))));
    assert_eq!(Http::get(fixture.http(), "a", "/").await.status, 200);
}
