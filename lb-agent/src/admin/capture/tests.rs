//! Captures of a packet path that is made up.

use http_body_util::BodyExt;

use super::super::live::tests::live;
use super::*;
use crate::model::Hop;

const WHO: Peer = Peer { process: Some((4711, 0)) };

/// A packet path, as the one who gets its packets sees it.
struct Path {
    packets: mpsc::Sender<Captured>,
    lost: watch::Sender<u64>,
}

impl Path {
    /// Looks at packets as long as somebody listens.
    async fn serve(self, lost: u64) {
        self.packets.closed().await;
        self.lost.send_replace(lost);
    }
}

fn path() -> (Path, Captures) {
    let (packets, receiver) = mpsc::channel(8);
    let (lost, known) = watch::channel(0);
    let armed = Mutex::new(Some(Armed { packets: receiver, lost: known }));
    let arm: Arm = Box::new(move |_| {
        let armed = armed.lock().expect("no panic").take();
        Box::pin(async { armed.ok_or_else(|| "the verifier says no".to_owned()) })
    });
    (Path { packets, lost }, Captures::new(Some(arm)))
}

fn holding() -> Live {
    Live { turn: watch::Sender::new(Turn::Holding).subscribe(), ..live(Some(1), 1, None) }
}

fn captured() -> Captured {
    Captured {
        at: Duration::from_secs(1),
        interface: "uplink".to_owned(),
        verdict: 6,
        hop: Some(Hop { member: 7, place: 1, of: 1 }),
        packet: vec![0; 14],
        length: 60,
    }
}

async fn words(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("never an error").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn packets_come_until_there_are_enough() {
    let (path, captures) = path();
    let response = captures.begin(&holding(), Some("form=text&count=2"), WHO).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[TRAILER], SUMMARY.as_str());
    for _ in 0..3 {
        path.packets.send(captured()).await.expect("there is room");
    }
    let ending = tokio::spawn(path.serve(9));
    let body = response.into_body().collect().await.expect("never an error");
    ending.await.expect("it ends");
    let summary = body.trailers().expect("trailers")[SUMMARY].to_str().expect("text").to_owned();
    assert_eq!(summary, "2 packets told, 9 lost for want of room: as many as were asked for (2)");
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().all(|line| line.ends_with("sent to member 7 (place 1 of 1)")), "{text}");
}

#[tokio::test]
async fn one_captures_at_a_time() {
    let (path, captures) = path();
    assert_eq!(captures.end().status(), StatusCode::NOT_FOUND);
    let first = captures.begin(&holding(), Some("form=text&verdict=sent"), WHO).await;
    let second = captures.begin(&holding(), None, Peer::default()).await;
    assert_eq!(second.status(), StatusCode::CONFLICT);
    let why = words(second).await;
    assert!(
        why.starts_with("process 4711 of user 0 captures already, since 0 s (--verdict sent): "),
        "{why}"
    );
    assert_eq!(captures.end().status(), StatusCode::OK);
    let ending = tokio::spawn(path.serve(0));
    assert_eq!(words(first).await, "");
    ending.await.expect("told to end");
    assert_eq!(captures.end().status(), StatusCode::NOT_FOUND, "the next one may");
    let third = captures.begin(&holding(), None, WHO).await;
    assert_eq!(
        (third.status(), words(third).await.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "the verifier says no\n")
    );
    assert_eq!(captures.end().status(), StatusCode::NOT_FOUND, "who is refused holds nothing");
}

#[tokio::test]
async fn who_is_gone_holds_nothing() {
    let (path, captures) = path();
    drop(captures.begin(&holding(), None, WHO).await);
    path.packets.closed().await;
    assert_eq!(captures.end().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_packet_path_that_goes_ends_it() {
    let (path, captures) = path();
    let response = captures.begin(&holding(), None, WHO).await;
    path.packets.send(captured()).await.expect("there is room");
    drop(path);
    let body = response.into_body().collect().await.expect("never an error");
    let summary = body.trailers().expect("trailers")[SUMMARY].to_str().expect("text").to_owned();
    assert!(
        summary.starts_with("1 packets told, 0 lost") && summary.ends_with("gave the packet path up"),
        "{summary}"
    );
    assert_eq!(body.to_bytes()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let (_path, captures) = path();
    let waiting = Live { turn: watch::Sender::new(Turn::Waiting).subscribe(), ..holding() };
    for (response, status) in [
        (captures.begin(&holding(), Some("count=0"), WHO).await, 400),
        (captures.begin(&waiting, None, WHO).await, 503),
        (Captures::default().begin(&holding(), None, WHO).await, 404),
    ] {
        assert_eq!(response.status().as_u16(), status);
    }
}
