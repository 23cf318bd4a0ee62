//! HTTP/2 connections to endpoints: shared by many requests, as many as the endpoint allows, and left in order when it
//! ends them. Raw ones do what servers seldom do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_agent::l7::Timeouts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use super::support::frames::{GOAWAY, RST_STREAM, first_request, frame};
use super::support::{Backend, Body, Fixture, Http, RawBackend, Table, eventually, protocol, request, text};

const UNSEEN: &str = "lb_l7_upstream_retries_total{outcome=\"unseen\"}";

fn fixture(endpoints: &[std::net::SocketAddr]) -> Fixture {
    Fixture::start(Table::all_spoken(endpoints, protocol(true, None)))
}

/// Serves a connection in order: says how much came.
async fn serve(stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| async {
        let body = request.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from(format!("{} bytes", body.len()))))
    });
    drop(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

/// Whoever connects first has its first request answered with these frames, made for its stream.
async fn first_hears(frames: fn(u32) -> Vec<u8>) -> RawBackend {
    RawBackend::start(move |number, mut stream| async move {
        if number > 0 {
            return serve(stream).await;
        }
        let id = first_request(&mut stream).await;
        stream.write_all(&frames(id)).await.expect("sent");
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await
}

fn post(body: &'static [u8]) -> Request<super::support::RequestBody> {
    let body = Full::new(Bytes::from_static(body)).boxed_unsync();
    Request::post("/").header("host", "a").body(body).expect("a request")
}

#[tokio::test]
async fn requests_share_a_connection_from_the_first_on() {
    let together = Arc::new(tokio::sync::Barrier::new(50));
    let backend = Backend::http2(move |_| {
        let together = together.clone();
        async move {
            together.wait().await;
            Response::new(text("done"))
        }
    })
    .await;
    let fixture = fixture(&[backend.address]);
    let answers = join_all((0..50).map(|_| Http::get(fixture.http(), "a", "/"))).await;
    assert!(answers.iter().all(|answer| answer.text() == "done"));
    assert_eq!((backend.requests(), backend.connections()), (50, 1));
}

#[tokio::test]
async fn an_endpoint_gets_no_more_streams_than_it_allows() {
    let (most, release) = (Arc::<AtomicUsize>::default(), Arc::new(Notify::new()));
    let backend = {
        let (most, release) = (most.clone(), release.clone());
        RawBackend::start(move |_, stream| {
            let (most, release) = (most.clone(), release.clone());
            async move {
                let here = Arc::<AtomicUsize>::default();
                let service = service_fn(move |_| {
                    let (here, most, release) = (here.clone(), most.clone(), release.clone());
                    async move {
                        most.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        release.notified().await;
                        here.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("done")))
                    }
                });
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_concurrent_streams(3);
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }
        })
        .await
    };
    let fixture = fixture(&[backend.address]);
    let asking = join_all((0..10).map(|_| Http::get(fixture.http(), "a", "/")));
    let releasing = async {
        eventually("10 streams want four connections", || backend.connections() == 4).await;
        loop {
            release.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answers = asking => assert!(answers.iter().all(|answer| answer.text() == "done")),
        () = releasing => unreachable!("it goes on"),
    }
    assert_eq!((most.load(Ordering::SeqCst), fixture.metric(UNSEEN)), (3, 0));
}

#[tokio::test]
async fn what_a_goaway_leaves_out_is_sent_again_with_its_body() {
    let backend = first_hears(|_| frame(GOAWAY, 0, 0, &[0; 8])).await;
    let fixture = fixture(&[backend.address]);
    let mut client = Http::one(fixture.http()).await;
    assert_eq!(client.send(post(b"a small body")).await.text(), "12 bytes");
    assert_eq!(client.send(post(b"")).await.text(), "0 bytes");
    assert_eq!((backend.connections(), fixture.metric(UNSEEN)), (2, 1));
}

/// Refuses the first stream of its first connection.
async fn refuses() -> RawBackend {
    RawBackend::start(|number, stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut is_first = number == 0;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            if std::mem::take(&mut is_first) {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            tokio::spawn(async move {
                let (mut body, mut length) = (request.into_body(), 0);
                while let Some(Ok(part)) = body.data().await {
                    length += part.len();
                }
                let mut stream = respond.send_response(Response::new(()), false).expect("a head");
                stream.send_data(format!("{length} bytes").into(), true).expect("a body");
            });
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_is_sent_to_another_endpoint() {
    let (one, two) = (refuses().await, refuses().await);
    let alone = fixture(&[one.address]);
    assert_eq!(Http::one(alone.http()).await.send(post(b"body")).await.text(), "4 bytes");
    assert_eq!((one.connections(), alone.metric(UNSEEN)), (1, 1), "nothing is wrong with the connection");
    let both = fixture(&[two.address, one.address]);
    let mut client = Http::one(both.http()).await;
    while two.connections() == 0 {
        assert_eq!(client.send(post(b"body")).await.text(), "4 bytes");
    }
    assert_eq!((one.connections(), both.metric(UNSEEN)), (2, 1));
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_not_sent_again() {
    // It says that it has seen the stream, or resets it for another reason.
    let seen = |id: u32| frame(GOAWAY, 0, 0, &[id.to_be_bytes(), [0; 4]].concat());
    let reset = |id| frame(RST_STREAM, 0, id, &2_u32.to_be_bytes());
    for (frames, status) in [(seen as fn(u32) -> Vec<u8>, 504), (reset, 502)] {
        let backend = first_hears(frames).await;
        let table = Table::all_spoken(&[backend.address], protocol(true, None));
        let fixture = Fixture::start_quick(table);
        let mut client = Http::one(fixture.http()).await;
        assert_eq!(client.send(post(b"body")).await.status.as_u16(), status);
        assert_eq!((backend.connections(), fixture.metric(UNSEEN)), (1, 0));
    }
}

#[tokio::test]
async fn what_is_under_way_ends_after_a_goaway() {
    let (release, ending) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let arrived = Arc::new(Notify::new());
    let backend = {
        let (release, ending, arrived) = (release.clone(), ending.clone(), arrived.clone());
        RawBackend::start(move |number, stream| {
            let (release, ending, arrived) = (release.clone(), ending.clone(), arrived.clone());
            async move {
                let service = service_fn(move |_| {
                    let (release, arrived) = (release.clone(), arrived.clone());
                    async move {
                        if number == 0 {
                            arrived.notify_one();
                            drop(release.acquire().await);
                        }
                        let body = Full::<Bytes>::from(format!("connection {number}"));
                        Ok::<_, std::convert::Infallible>(Response::new(body))
                    }
                });
                let builder = http2::Builder::new(TokioExecutor::new());
                let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
                tokio::select! {
                    ended = connection.as_mut() => return drop(ended),
                    () = ending.notified() => connection.as_mut().graceful_shutdown(),
                }
                drop(connection.await);
            }
        })
        .await
    };
    let fixture = fixture(&[backend.address]);
    let address = fixture.http();
    let first = tokio::spawn(async move { Http::get(address, "a", "/").await });
    // A GOAWAY that came before it would have it sent elsewhere.
    arrived.notified().await;
    assert_eq!(backend.connections(), 1, "the first one is under way");
    let mut others = Http::one(address).await;
    ending.notify_one();
    // The first request is held; what comes after the GOAWAY goes over a new connection.
    let mut asked = 0;
    while backend.connections() == 1 {
        asked += 1;
        assert!(asked < 1000, "the GOAWAY is not heard of");
        let answer = tokio::time::timeout(Duration::from_millis(20), others.begin(request("a", "/"))).await;
        if answer.is_err() {
            others = Http::one(address).await;
        }
    }
    assert!(!first.is_finished(), "the first one is held");
    release.add_permits(10_000);
    let first = first.await.expect("no panic");
    assert_eq!((first.status, first.text()), (StatusCode::OK, "connection 0"));
}

#[tokio::test]
async fn both_bodies_stream_at_the_same_time() {
    // Echoes each part as it comes.
    let backend = Backend::http2(|request| async {
        Response::new(request.into_body().map_err(std::io::Error::other).boxed_unsync())
    })
    .await;
    let fixture = fixture(&[backend.address]);
    for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
        let uri = if matches!(client, Http::One(_)) { "/" } else { "http://a/" };
        let (say, said) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
        let said = stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
        let body = StreamBody::new(said).boxed_unsync();
        let post = Request::post(uri);
        let post = if uri == "/" { post.header("host", "a") } else { post };
        let mut response =
            client.begin(post.body(body).expect("a request")).await.expect("a head").into_body();
        for number in 0..100_u8 {
            say.send(Ok(Frame::data(vec![number; 3].into()))).await.expect("the client listens");
            let part = response.frame().await.expect("a part").expect("in order").into_data().expect("data");
            assert_eq!(part, vec![number; 3]);
        }
        drop(say);
        assert_eq!(response.collect().await.expect("it ends in order").to_bytes(), "");
    }
}

#[tokio::test]
async fn who_leaves_is_left() {
    let (begun, gone) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    struct Gone(Arc<Semaphore>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let backend = {
        let (begun, gone) = (begun.clone(), gone.clone());
        Backend::http2(move |_| {
            let (begun, gone) = (begun.clone(), Gone(gone.clone()));
            async move {
                begun.add_permits(1);
                let never = async move {
                    let _gone = gone;
                    std::future::pending::<Response<Body>>().await
                };
                never.await
            }
        })
        .await
    };
    let fixture = fixture(&[backend.address]);
    for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
        let uri = if matches!(client, Http::One(_)) { "/" } else { "http://a/" };
        {
            let asking = client.begin(request("a", uri));
            tokio::select! {
                _ = asking => panic!("nobody answers"),
                permit = begun.acquire() => permit.expect("open").forget(),
            }
        }
        drop(client);
        tokio::time::timeout(Duration::from_secs(20), gone.acquire())
            .await
            .expect("a reset")
            .expect("open")
            .forget();
    }
    assert_eq!(backend.connections(), 1, "the others on the connection would go on");
}

#[tokio::test]
async fn a_client_that_is_slow_itself_costs_no_connection() {
    let backend = Backend::http2(|request| async move {
        drop(request.into_body().collect().await);
        Response::new(text("ok"))
    })
    .await;
    let timeouts = Timeouts { upload: Duration::from_millis(300), ..Timeouts::default() };
    let table = Table::all_spoken(&[backend.address], protocol(true, None));
    let fixture = Fixture::start_with(timeouts, table);
    let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>());
    let post = Request::post("/").header("host", "a").body(never.boxed_unsync()).expect("a request");
    assert_eq!(Http::one(fixture.http()).await.send(post).await.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_whole() {
    let heard = Arc::new(Semaphore::new(0));
    let backend = {
        let heard = heard.clone();
        Backend::http2(move |_| {
            let heard = heard.clone();
            async move {
                // Only once the client has the head: what breaks earlier may take the head along.
                let breaks = async move {
                    heard.acquire().await.expect("open").forget();
                    Err(std::io::Error::other("broken"))
                };
                let half = stream::once(async { Ok(Frame::data(Bytes::from("half"))) });
                Response::new(StreamBody::new(half.chain(stream::once(breaks))).boxed_unsync())
            }
        })
        .await
    };
    let fixture = fixture(&[backend.address]);
    for mut client in [Http::one(fixture.http()).await, Http::two(fixture.http()).await] {
        let uri = if matches!(client, Http::One(_)) { "/" } else { "http://a/" };
        let body = client.begin(request("a", uri)).await.expect("a head").into_body();
        heard.add_permits(1);
        assert!(body.collect().await.is_err(), "{uri}");
    }
}

#[tokio::test]
async fn idle_connections_end_and_so_do_those_that_are_not_needed_any_more() {
    let open = Arc::<AtomicUsize>::default();
    let backend = {
        let open = open.clone();
        RawBackend::start(move |_, stream| {
            let open = open.clone();
            async move {
                open.fetch_add(1, Ordering::SeqCst);
                serve(stream).await;
                open.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .await
    };
    let table = || Table::all_spoken(&[backend.address], protocol(true, None));
    let fixture = Fixture::start_quick(table());
    let get = || Http::get(fixture.http(), "a", "/");
    assert_eq!(get().await.status, 200);
    eventually("an idle one is closed", || open.load(Ordering::SeqCst) == 0).await;
    let long = Fixture::start(table());
    assert_eq!(Http::get(long.http(), "a", "/").await.status, 200);
    long.publish(Table::default().build());
    eventually("one without a route is closed", || open.load(Ordering::SeqCst) == 0).await;
}
