//! Cookies by which clients come to the same endpoint again.

use serde_json::{Value, json};

use tokio::io::AsyncWriteExt;

use super::support::{Answer, Backend, Http, RawBackend, Shop, Site, read_head, request};

async fn pods() -> [Backend; 3] {
    [Backend::says("0").await, Backend::says("1").await, Backend::says("2").await]
}

/// A GET with these cookies.
async fn get(site: &Site, path: &str, cookies: &str) -> Answer {
    let mut asked = request("a", path);
    if !cookies.is_empty() {
        asked.headers_mut().insert("cookie", cookies.parse().expect("a value"));
    }
    let answer = Http::one(site.http()).await.send(asked).await;
    assert_eq!(answer.status, 200);
    answer
}

/// The cookie that an answer gives, as clients send it back, and what stands beside it; empty without one.
fn given(answer: &Answer) -> (String, String) {
    let (pair, attributes) = answer.header("set-cookie").split_once("; ").unwrap_or_default();
    (pair.to_owned(), attributes.to_owned())
}

/// Clients, each with the cookie and the pod that it got.
async fn clients(site: &Site, count: usize) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let answer = get(site, "/", "").await;
        all.push((given(&answer).0, answer.text().to_owned()));
    }
    all
}

#[tokio::test]
async fn a_client_comes_back_to_its_endpoint_at_every_node() {
    let [one, two, three] = &pods().await;
    let shop = Shop::of(json!({"edgelb.dev/sticky": "cookie=shop"}));
    let (mut site, other) = (shop.open(&[one, two, three]).await, shop.open(&[three, one, two]).await);
    assert_eq!(site.problems, Vec::<String>::new());
    [&site, &other].into_iter().for_each(|site| site.proxy.go_by(b"the secret of all nodes"));
    let all = clients(&site, 30).await;
    assert!(["0", "1", "2"].iter().all(|pod| all.iter().any(|(_, first)| first == pod)), "{all:?}");
    for (cookie, pod) in &all {
        for node in [&site, &other, &site] {
            let answer = get(node, "/", &format!("a=b; {cookie}")).await;
            assert_eq!((answer.text(), answer.header("set-cookie")), (pod.as_str(), ""), "{cookie}");
        }
    }
    shop.tell(&mut site, &[one, three]);
    for (cookie, pod) in &all {
        let answer = get(&site, "/", cookie).await;
        let (next, _) = given(&answer);
        match pod.as_str() {
            "1" => assert!(answer.text() != "1" && next.starts_with("shop=") && next != *cookie, "{next}"),
            _ => assert_eq!((answer.text(), next.as_str()), (pod.as_str(), "")),
        }
    }
}

#[tokio::test]
async fn who_does_not_know_the_cookie_of_a_value_gives_another() {
    let [one, two, _] = &pods().await;
    let site = Shop::of(json!({"edgelb.dev/sticky": "cookie=shop"})).open(&[one, two]).await;
    for forged in ["shop=", "shop=127.0.0.1:80", "shop=0123456789abcdef"] {
        assert!(given(&get(&site, "/", forged).await).0.starts_with("shop="), "{forged}");
    }
}

#[tokio::test]
async fn who_is_helped_out_comes_back_unless_it_is_to_change() {
    for (changes, annotation) in [(false, "cookie=shop"), (true, "cookie=shop, change-on-failure=true")] {
        let [one, two, _] = pods().await;
        let site = Shop::of(json!({"edgelb.dev/sticky": annotation})).open(&[&one, &two]).await;
        let all = clients(&site, 20).await;
        let (cookie, _) = all.iter().find(|(_, pod)| pod == "0").expect("one of them");
        drop(one);
        let answer = get(&site, "/", cookie).await;
        assert_eq!((answer.text(), given(&answer).0.is_empty()), ("1", !changes), "{annotation}");
    }
}

/// An endpoint that answers one request of each connection, and closes it when the second one comes.
async fn closes_early() -> RawBackend {
    RawBackend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await);
        read_head(&mut stream).await;
    })
    .await
}

/// That of a client which comes back to this pod.
async fn cookie_of(site: &Site, pod: &str) -> String {
    loop {
        let answer = get(site, "/", "").await;
        let (cookie, _) = given(&answer);
        if answer.text() == pod && !cookie.is_empty() {
            return cookie;
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_moves_nobody() {
    let (early, other) = (closes_early().await, Backend::says("other").await);
    let sticky = "cookie=shop, change-on-failure=true";
    let shop = Shop::of(json!({"edgelb.dev/sticky": sticky, "edgelb.dev/retries": "tries=1"}));
    let mut site = shop.open(&[]).await;
    shop.tell_of(&mut site, &[early.address, other.address]);
    let cookie = cookie_of(&site, "early").await;
    let stale = || site.metric("lb_l7_upstream_retries_total{outcome=\"stale\"}");
    let before = stale();
    for asked in 1..=3 {
        let answer = get(&site, "/", &cookie).await;
        assert_eq!((answer.text(), given(&answer).0.as_str()), ("early", ""));
        assert_eq!(stale(), before + asked);
    }
}

/// Who may have seen a request is not followed by another one where that is not wanted.
#[tokio::test]
async fn who_closes_a_connection_and_is_gone_may_have_seen_the_request() {
    for (tries, expected) in [(1, 502), (2, 200)] {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let end = std::sync::Mutex::new(Some(end));
        let gone = RawBackend::start(move |_, mut stream| {
            let end = end.lock().expect("no panic").take();
            async move {
                read_head(&mut stream).await;
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngone").await);
                read_head(&mut stream).await;
                drop(end);
                std::future::pending().await
            }
        })
        .await;
        let other = Backend::says("other").await;
        let retries = format!("tries={tries}");
        let shop = Shop::of(json!({"edgelb.dev/sticky": "cookie=shop", "edgelb.dev/retries": retries}));
        let mut site = shop.open(&[]).await;
        shop.tell_of(&mut site, &[gone.address, other.address]);
        let cookie = cookie_of(&site, "gone").await;
        let mut asked = request("a", "/");
        asked.headers_mut().insert("cookie", cookie.parse().expect("a value"));
        let mut client = Http::one(site.http()).await;
        let (answer, ()) = tokio::join!(client.send(asked), async {
            drop(ended.await);
            drop(gone);
        });
        assert_eq!(answer.status.as_u16(), expected, "tries={tries}");
    }
}

#[tokio::test]
async fn an_ingress_may_say_it_as_ingress_nginx_has_it() {
    let [one, two, _] = &pods().await;
    let nginx = |pairs: &[(&str, &str)]| -> Value {
        let key = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
        pairs.iter().map(|(name, value)| (key(name), json!(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let plain = nginx(&[("affinity", "cookie")]);
    let full = nginx(&[
        ("affinity", "cookie"),
        ("affinity-mode", "persistent"),
        ("session-cookie-name", "route"),
        ("session-cookie-path", "/shop"),
        ("session-cookie-max-age", "60"),
        ("session-cookie-samesite", "Strict"),
        ("session-cookie-secure", "true"),
        ("session-cookie-domain", "example.org"),
        ("session-cookie-change-on-failure", "true"),
    ]);
    let beside = "Path=/shop; HttpOnly; Domain=example.org; Max-Age=60; SameSite=Strict; Secure";
    for (ingress, name, attributes) in
        [(plain, "INGRESSCOOKIE=", "Path=/; HttpOnly"), (full, "route=", beside)]
    {
        let site = Shop { ingress, ..Shop::default() }.open(&[one, two]).await;
        assert_eq!(site.problems, Vec::<String>::new());
        let answer = get(&site, "/", "").await;
        let (cookie, found) = given(&answer);
        assert!(cookie.starts_with(name), "{cookie}");
        assert_eq!(found, attributes);
        for _ in 0..10 {
            assert_eq!(get(&site, "/", &cookie).await.text(), answer.text());
        }
    }
    let wrong =
        nginx(&[("affinity", "cookie"), ("session-cookie-secure", "maybe"), ("load-balance", "ip_hash")]);
    let site = Shop { ingress: wrong, ..Shop::default() }.open(&[one, two]).await;
    let said = site.problems.join("\n");
    for part in
        ["session-cookie-secure]: \"maybe\" is not true or false", "load-balance]: \"ip_hash\" is not ewma"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[tokio::test]
async fn a_cookie_is_for_the_path_of_its_route() {
    let [one, two, _] = &pods().await;
    let path = |path: &str| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "paths"},
        "spec": {"rules": [{"http": {"paths": [path("/cart/"), path("/")]}}]},
    });
    let mut site = Shop::of(json!({"edgelb.dev/sticky": "cookie=shop"})).open(&[one, two]).await;
    site.change("paths.json", &ingress.to_string());
    for (asked, expected) in [("/cart/1", "Path=/cart; HttpOnly"), ("/else", "Path=/; HttpOnly")] {
        assert_eq!(given(&get(&site, asked, "").await).1, expected, "{asked}");
    }
}
