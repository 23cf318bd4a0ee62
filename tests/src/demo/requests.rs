//! HTTP by host and path, HTTPS with the right certificate.

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;
use crate::lab::site::{API, DOCS, SHOP};

use super::curl::{Curl, field, node_name};
use super::report::Report;

pub(super) fn by_host_and_path(lab: &Lab, report: &Report) -> Result<()> {
    report.part("HTTP by host and path, over IPv4 and IPv6");
    for (url, over_v6, app) in [
        (format!("http://{SHOP}/"), false, "shop"),
        (format!("http://{SHOP}/api/items"), false, "api"),
        (format!("http://{API}/"), false, "api"),
        (format!("http://{SHOP}/api/items"), true, "api"),
    ] {
        let curl = Curl { url: &url, over_v6 };
        report.command(&curl.shown());
        let text = curl.run(lab, &[])?;
        let pod = field(&text, "pod")?;
        ensure!(pod.starts_with(app), "{url} was answered by {pod}, which is not of {app}");
        report.outcome(&format!(
            "pod {pod}, asked by the proxy on {} for client {}",
            node_name(lab, field(&text, "peer")?)?,
            field(&text, "x-forwarded-for")?
        ));
    }
    unknown_host(lab, report)
}

fn unknown_host(lab: &Lab, report: &Report) -> Result<()> {
    let curl = Curl { url: "http://unknown.example.org/", over_v6: false };
    report.command(&curl.shown());
    let status = curl.run(lab, &["--output", "/dev/null", "--write-out", "%{http_code}"])?;
    ensure!(status == "404", "an unknown host got {status}");
    report.outcome("404: no Ingress names it");
    Ok(())
}

pub(super) fn certificates(lab: &Lab, report: &Report) -> Result<()> {
    report.part("HTTPS with the certificate of the name that is asked for");
    for host in [SHOP, DOCS] {
        let url = format!("https://{host}/");
        let curl = Curl { url: &url, over_v6: false };
        report.command(&curl.shown());
        let write = "%{stderr}negotiated: %{http_version} %{ssl_verify_result}\n";
        let text = curl.run(lab, &["--verbose", "--write-out", write])?;
        let subject =
            text.lines().find_map(|line| line.trim_start_matches("* ").trim().strip_prefix("subject: "));
        let subject = subject.context("curl showed no certificate")?;
        ensure!(subject.contains(host), "{host} was answered with the certificate of {subject}");
        let protocol = field(&text, "negotiated")?.split(' ').next().unwrap_or_default();
        report.outcome(&format!("pod {}, HTTP/{protocol}, certificate {subject}", field(&text, "pod")?));
    }
    Ok(())
}
