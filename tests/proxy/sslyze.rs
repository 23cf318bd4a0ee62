//! What sslyze finds of TLS here: the versions, ciphers and curves that there are, and none of the known weaknesses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use lb_agent::model::KeyKind::{Ecdsa, Rsa};
use lb_tests::installed;
use serde_json::Value;

use super::support::{Backend, Fixture, Table, certificate, run};

const HOST: &str = "a.example.org";

const ASKED: [&str; 17] = [
    "--sslv2",
    "--sslv3",
    "--tlsv1",
    "--tlsv1_1",
    "--tlsv1_2",
    "--tlsv1_3",
    "--elliptic_curves",
    "--compression",
    "--heartbleed",
    "--openssl_ccs",
    "--robot",
    "--reneg",
    "--resum",
    "--fallback",
    "--early_data",
    "--ems",
    "--quiet",
];

/// All of it, found at once: each name with its result.
struct Findings(Value);

impl Findings {
    async fn of(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let report = folder.path().join("report.json");
        let mut sslyze = Command::new(installed::sslyze().expect("sslyze"));
        sslyze.args(ASKED).arg(format!("--json_out={}", report.display()));
        run(sslyze.args(["--sni", HOST]).arg(address.to_string())).await;
        let report = std::fs::read_to_string(report).expect("a report");
        let mut report: Value = serde_json::from_str(&report).expect("JSON");
        Self(report["server_scan_results"][0]["scan_result"].take())
    }

    /// One scan's result; it has one only if it came to its end.
    fn of_scan(&self, name: &str) -> &Value {
        let scan = &self.0[name];
        assert_eq!(scan["status"], "COMPLETED", "{name}: {scan}");
        &scan["result"]
    }

    fn has(&self, scan: &str, field: &str) -> bool {
        self.of_scan(scan)[field].as_bool().unwrap_or_else(|| panic!("{scan} {field}: {}", self.0[scan]))
    }

    fn names(&self, scan: &str, list: &str, name: impl Fn(&Value) -> &Value) -> BTreeSet<String> {
        let list = self.of_scan(scan)[list].as_array().expect("a list");
        list.iter().map(|entry| name(entry).as_str().expect("a name").to_owned()).collect()
    }

    /// The ciphers that there are with a version.
    fn ciphers(&self, version: &str) -> BTreeSet<String> {
        let scan = format!("{version}_cipher_suites");
        self.names(&scan, "accepted_cipher_suites", |accepted| &accepted["cipher_suite"]["name"])
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn sslyze_finds_what_is_there_and_no_weakness() {
    let backend = Backend::says("ok").await;
    let table = Table::default()
        .certificate(HOST, &certificate(Ecdsa, &[HOST]))
        .certificate(HOST, &certificate(Rsa, &[HOST]));
    let fixture = Fixture::start(table.default_backend("", &[backend.address]).build());
    let found = Findings::of(fixture.https()).await;
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(found.ciphers(version), set(&[]), "{version}");
    }
    // With an ephemeral key and authenticated encryption, all of them.
    let of_1_2 = ["ECDSA", "RSA"].map(|key| {
        ["CHACHA20_POLY1305_SHA256", "AES_256_GCM_SHA384", "AES_128_GCM_SHA256"]
            .map(|cipher| format!("TLS_ECDHE_{key}_WITH_{cipher}"))
    });
    assert_eq!(found.ciphers("tls_1_2"), of_1_2.into_iter().flatten().collect());
    let of_1_3 = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"];
    assert_eq!(found.ciphers("tls_1_3"), set(&of_1_3));
    let curves = found.names("elliptic_curves", "supported_curves", |curve| &curve["name"]);
    assert_eq!(curves, set(&["X25519", "secp256r1", "secp384r1"]));
    for (scan, weakness) in [
        ("tls_compression", "supports_compression"),
        ("heartbleed", "is_vulnerable_to_heartbleed"),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection"),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"),
        // What comes early can come twice.
        ("tls_1_3_early_data", "supports_early_data"),
    ] {
        assert!(!found.has(scan, weakness), "{weakness}");
    }
    // The attack needs key exchange by RSA.
    assert_eq!(found.of_scan("robot")["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED");
    assert_eq!(found.of_scan("session_renegotiation")["client_renegotiations_success_count"], 0);
    assert!(found.has("session_renegotiation", "supports_secure_renegotiation"), "RFC 5746");
    assert!(found.has("tls_extended_master_secret", "supports_ems_extension"), "RFC 7627");
    // It tells a session that is resumed by its ticket, and each has a new one here.
    let attempts = found.of_scan("session_resumption")["tls_ticket_attempted_resumptions_count"].as_u64();
    let resumed = fixture.metric("lb_l7_tls_handshakes_total{version=\"1.2\",kind=\"resumed\"}");
    assert!(attempts.is_some_and(|attempts| (1..=resumed).contains(&attempts)), "{resumed} of {attempts:?}");
    // Its handshakes have left nothing behind.
    super::support::eventually("all are closed", || fixture.proxy.left().total() == 0).await;
}
