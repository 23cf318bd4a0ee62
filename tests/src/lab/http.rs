//! A plain HTTP/1.1 client over any byte stream, for tests that count connections: one request at a time,
//! bodies by Content-Length. What it does not understand is an error, never a guess.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result, bail, ensure};

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection<S> {
    stream: BufReader<S>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers in the order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream that is ready for the first request.
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The stream below.
    pub fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    /// The stream below, to go on with after an upgrade.
    pub fn stream_mut(&mut self) -> &mut S {
        self.stream.get_mut()
    }

    /// `GET path` of a host.
    ///
    /// # Errors
    /// If the connection breaks or the answer is not HTTP/1.1 with a Content-Length.
    pub fn fetch(&mut self, host: &str, path: &str) -> Result<Answer> {
        self.send("GET", host, path, &[])
    }

    /// A request without a body, with more headers.
    ///
    /// # Errors
    /// As `fetch`.
    pub fn send(&mut self, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.exchange(method, host, path, headers, &[])
    }

    /// `POST path` with a body.
    ///
    /// # Errors
    /// As `fetch`.
    pub fn post(&mut self, host: &str, path: &str, body: &[u8]) -> Result<Answer> {
        self.exchange("POST", host, path, &[("Content-Length", &body.len().to_string())], body)
    }

    /// Waits until the other side closes.
    ///
    /// # Errors
    /// If it sends anything before that.
    pub fn await_end(&mut self) -> Result<()> {
        ensure!(self.stream.fill_buf()?.is_empty(), "more than one answer");
        Ok(())
    }

    fn exchange(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).context("sending the request")?;
        self.stream.get_mut().flush()?;
        self.answer().context("reading the answer")
    }

    /// The next answer, to a request that was written in parts.
    ///
    /// # Errors
    /// As `fetch`.
    pub fn answer(&mut self) -> Result<Answer> {
        let status = status(&self.line()?)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        answer.body = vec![0; answer.length()?];
        self.stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
        Ok(line.trim_end().to_owned())
    }
}

impl Answer {
    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A field of a pod's report (`server::serve`).
    ///
    /// # Errors
    /// Shows the answer, if it is not such a report.
    pub fn field(&self, name: &str) -> Result<&str> {
        let text = str::from_utf8(&self.body)?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .with_context(|| format!("no {name:?} in the answer {}: {text:?}", self.status))
    }

    fn length(&self) -> Result<usize> {
        if matches!(self.status, 101 | 204 | 304) {
            return Ok(0);
        }
        match self.header("content-length") {
            Some(length) => Ok(length.parse()?),
            None => bail!("{} without Content-Length: {:?}", self.status, self.headers),
        }
    }
}

fn status(line: &str) -> Result<u16> {
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).with_context(|| format!("not a status line: {line:?}"))
}
