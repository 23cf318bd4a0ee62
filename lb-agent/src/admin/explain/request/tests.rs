//! Queries and words.

use super::*;
use crate::model::{
    BackendExplained, CertificateExplained, CertificateOffered, CertificateReason, EndpointExplained,
    EndpointState, ListenerExplained, MatchedAs, ReplyExplained, RouteExplained, RouteReason, TlsExplained,
    TreatmentExplained,
};

fn request() -> RequestAsked {
    RequestAsked {
        host: "shop.example.org".to_owned(),
        path: "/cart?a=1&b=%20".to_owned(),
        method: "GET".to_owned(),
        headers: vec![("accept".to_owned(), "text/html, a:b&c".to_owned())],
        sni: Some(String::new()),
        from: Some([192, 0, 2, 7].into()),
        to: Some(([203, 0, 113, 10], 443).into()),
    }
}

#[test]
fn a_query_gives_back_what_it_was_made_of() {
    let bare = RequestAsked { headers: Vec::new(), sni: None, from: None, to: None, ..request() };
    for asked in [request(), bare] {
        assert_eq!(super::asked(Some(&query(&asked))), Ok(asked));
    }
    for (wrong, words) in [
        ("from=x", "from: \"x\" is no address"),
        ("header=x", "header"),
        ("x=y", "x: unknown; there are host"),
    ] {
        let error = asked(Some(wrong)).expect_err(wrong);
        assert!(error.contains(words) || error.contains("NAME: VALUE"), "{error}");
    }
}

fn route(path: Option<&str>, why: RouteReason) -> RouteExplained {
    RouteExplained {
        host: Some("shop.example.org".to_owned()),
        path: path.map(str::to_owned),
        object: "Ingress shop/web".to_owned(),
        backend: Some("shop/web:80".to_owned()),
        why,
        words: None,
    }
}

fn treatment() -> TreatmentExplained {
    TreatmentExplained {
        load_balance: "hash".to_owned(),
        hash_by: vec!["header:x-tenant".to_owned(), "client".to_owned()],
        sticky: Some("shop=...; Path=/; HttpOnly".to_owned()),
        connect: 5_000,
        attempt: 500,
        request: 1_000,
        send: 500,
        read: None,
        tries: 2,
        within: Some(10_000),
        retried_on: vec!["connect".to_owned(), "503".to_owned()],
        endpoint_requests: 100,
        pending_requests: 50,
        pending_time: 1_000,
        health_check: Some("GET /healthz".to_owned()),
        ejection: Some("never".to_owned()),
    }
}

fn listener() -> ListenerExplained {
    let certificate = CertificateOffered {
        secret: "Secret shop/tls".to_owned(),
        key: "rsa".to_owned(),
        names: vec!["www.example.org".to_owned()],
        covers: false,
        not_after: 1_800_000_000,
    };
    ListenerExplained {
        addresses: vec![([203, 0, 113, 10], 443).into()],
        protocol: "https".to_owned(),
        objects: vec!["Service edge/vip".to_owned()],
        classes: vec!["edgelb".to_owned()],
        certificate: Some(CertificateExplained {
            sni: "shop.example.org".to_owned(),
            why: CertificateReason::Default,
            pattern: Some("*".to_owned()),
            offered: vec![certificate],
        }),
        tls: Some(TlsExplained {
            versions: vec!["1.2".to_owned(), "1.3".to_owned()],
            cipher_suites: vec!["TLS_AES_256_GCM_SHA384".to_owned()],
        }),
        on_http2: Some(ReplyExplained {
            status: 421,
            reason: "misdirected".to_owned(),
            text: "421 misdirected request".to_owned(),
        }),
        reply: None,
        matched: Some(MatchedAs { host: "shop.example.org".to_owned(), path: "/cart".to_owned() }),
        winner: Some(route(Some("Prefix /cart"), RouteReason::Rule)),
        losers: vec![route(Some("Prefix /"), RouteReason::LessSpecificPath)],
        more_losers: 0,
        backend: Some(BackendExplained {
            service: "shop/web:80".to_owned(),
            protocol: "h2c".to_owned(),
            unavailable: None,
            endpoints: vec![EndpointExplained {
                address: ([10, 0, 0, 1], 8080).into(),
                state: Some(EndpointState { known_by: 2, ejected_by: 1, requests: 3, idle: 4, check: None }),
            }],
            treatment: Some(treatment()),
        }),
        forwarded: vec!["GET /cart HTTP/1.1".to_owned(), "host: shop.example.org".to_owned()],
    }
}

#[track_caller]
fn check(listeners: Vec<ListenerExplained>, is_forwarded: bool, words: &[&str]) {
    let explained = RequestExplained { request: request(), generation: 3, listeners };
    assert_eq!(super::is_forwarded(&explained), is_forwarded);
    let text = explained.to_string();
    for words in words {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn what_is_forwarded_is_told_from_listener_to_endpoint() {
    let words = [
        "listener    203.0.113.10:443 (https), by Service edge/vip; routes of class edgelb",
        "certificate the default one, for a client that asks for shop.example.org: no TLS section names it",
        "            Secret shop/tls (rsa), for www.example.org, valid until Jan 15 08:00:00 2027",
        "it does NOT cover that name",
        "TLS         1.2 and 1.3, with TLS_AES_256_GCM_SHA384\n",
        "backend     shop/web:80 (h2c)\n",
        "but         a client that asked for that name and speaks HTTP/2 hears (misdirected): 421 misdirected request",
        "matched as  host \"shop.example.org\", path /cart",
        "wins        Prefix /cart of host shop.example.org (Ingress shop/web, to shop/web:80): of the rules",
        "loses       Prefix / of host shop.example.org (Ingress shop/web, to shop/web:80): it matches, but",
        "endpoints   10.0.0.1:8080: set aside by 1 of 2 workers, for it failed; 3 requests under way",
        "chosen      by header:x-tenant and client: one key, one endpoint (hash)\n",
        "comes back  by a cookie: shop=...; Path=/; HttpOnly\n",
        "times       connect 5s, try 500ms, request 1s, send 500ms, read no limit\n",
        "retries     at another endpoint on connect, 503; 2 tries that an endpoint may have seen, if it has no body, none",
        "limits      100 requests at one endpoint; with more, 50 wait, for 1s\n",
        "set aside   never\n",
        "checked     GET /healthz\n",
        "forwarded   GET /cart HTTP/1.1\n            host: shop.example.org\n",
        "so          it goes to 10.0.0.1:8080",
    ];
    check(vec![listener()], true, &words);
}

#[test]
fn what_is_not_forwarded_is_told_with_why() {
    let reply =
        ReplyExplained { status: 404, reason: "no_route".to_owned(), text: "404 not found".to_owned() };
    let refused = ListenerExplained {
        reply: Some(reply),
        winner: None,
        backend: None,
        forwarded: Vec::new(),
        losers: vec![route(Some("Exact /x"), RouteReason::OtherPath), route(None, RouteReason::NotNeeded)],
        more_losers: 5,
        ..listener()
    };
    let words = [
        "loses       Exact /x of host shop.example.org (Ingress shop/web, to shop/web:80): its path does not match",
        "            default backend of host shop.example.org",
        "            and 5 rules more of this host",
        "so          the proxy answers by itself (no_route): 404 not found",
    ];
    check(vec![refused], false, &words);
    check(Vec::new(), false, &["listener    none at 203.0.113.10:443: the connection is closed"]);
}
