//! As much of HTTP as a metrics port needs: one request for each connection, GET or HEAD, no body.
//!
//! The head of a request is parsed by `httparse`; what is here are the bounds: of its bytes, its lines
//! and its time, and of the time its client may take to read the answer. (A whole server as a library
//! brings threads and buffers whose bounds are not ours to set.) A client that keeps to none of it loses
//! its connection, and a thread of the port has lost some seconds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{METRICS_HEADER_COUNT_MAX, METRICS_POLL_MS, METRICS_REQUEST_LEN_BYTES_MAX};
use crate::server::clock::Clock;

/// What a client asks for.
pub(super) struct Request<'a> {
    is_head: bool,
    /// Without a query.
    pub(super) path: &'a str,
    /// The Host header.
    pub(super) host: Option<&'a str>,
}

/// What it is given.
pub(super) struct Response {
    status: &'static str,
    content_type: &'static str,
    body: Body,
}

enum Body {
    Made(Arc<String>),
    Constant(&'static str),
}

impl Response {
    /// A text that was made for it.
    pub(super) fn text(content_type: &'static str, body: Arc<String>) -> Self {
        Self {
            status: "200 OK",
            content_type,
            body: Body::Made(body),
        }
    }

    /// A page.
    pub(super) fn page(text: &'static str) -> Self {
        Self {
            status: "200 OK",
            content_type: "text/html; charset=utf-8",
            body: Body::Constant(text),
        }
    }

    /// A reason why not.
    pub(super) fn refusal(status: &'static str, reason: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: Body::Constant(reason),
        }
    }

    fn bytes(&self, is_head: bool) -> Vec<u8> {
        let body = match &self.body {
            Body::Made(text) => text.as_str(),
            Body::Constant(text) => text,
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{HEADERS}\r\n",
            self.status,
            self.content_type,
            body.len(),
        );
        let body = if is_head { "" } else { body };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

/// What every answer says: nothing is kept, framed, guessed or fetched from elsewhere.
const HEADERS: &str = "Connection: close\r\n\
    Cache-Control: no-store\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'\r\n";

/// Serves one request of a client that `has_time`, asked with the milliseconds that the arrival of the
/// request, or of the answer, has taken so far.
pub(super) fn serve(
    stream: TcpStream,
    has_time: impl Fn(u64) -> bool,
    answer: impl FnOnce(&Request<'_>) -> Response,
) {
    let mut exchange = Exchange {
        stream,
        has_time,
        clock: Clock::new(),
    };
    let mut buffer = [0; METRICS_REQUEST_LEN_BYTES_MAX];
    // A client that is gone, or too slow, has no use for an answer.
    let Some(len_bytes) = exchange.receive(&mut buffer) else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADER_COUNT_MAX];
    let (response, is_head) = match parse(&buffer[..len_bytes], &mut headers) {
        Ok(request) => (answer(&request), request.is_head),
        Err(refusal) => (refusal, false),
    };
    exchange.send(&response.bytes(is_head));
}

/// One connection.
struct Exchange<T> {
    stream: TcpStream,
    has_time: T,
    clock: Clock,
}

impl<T: Fn(u64) -> bool> Exchange<T> {
    /// Receives until there is a whole head, or what will never be one; how many bytes.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let mut len_bytes = 0;
        self.until_done(|stream| {
            len_bytes += match stream.read(&mut buffer[len_bytes..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                received => received,
            };
            let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADER_COUNT_MAX];
            let is_partial = httparse::Request::new(&mut headers)
                .parse(&buffer[..len_bytes])
                .is_ok_and(|status| status.is_partial());
            Ok(!is_partial || len_bytes == buffer.len())
        })?;
        Some(len_bytes)
    }

    /// Sends all, then waits for the client to close: to close first with bytes unread would take
    /// back what it has not read.
    fn send(&mut self, mut bytes: &[u8]) {
        let is_sent = self.until_done(|stream| {
            let sent_len = stream.write(bytes)?;
            bytes = &bytes[sent_len..];
            Ok(bytes.is_empty())
        });
        if is_sent.is_none() || self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut unread = [0; METRICS_REQUEST_LEN_BYTES_MAX];
        _ = self.until_done(|stream| Ok(stream.read(&mut unread)? == 0));
    }

    /// Repeats `step` until it says that it is done; `None` if it fails, or takes too long.
    fn until_done(
        &mut self,
        mut step: impl FnMut(&mut TcpStream) -> std::io::Result<bool>,
    ) -> Option<()> {
        let poll = Some(Duration::from_millis(METRICS_POLL_MS));
        self.stream.set_read_timeout(poll).ok()?;
        self.stream.set_write_timeout(poll).ok()?;
        let began = self.clock.moment();
        while (self.has_time)(self.clock.moment().us_since(began) / US_PER_MS) {
            let is_done = match step(&mut self.stream) {
                Ok(is_done) => is_done,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => false,
                    _ => return None,
                },
            };
            if is_done {
                return Some(());
            }
        }
        None
    }
}

const US_PER_MS: u64 = 1_000;

/// Reads the head of a request; else what to answer.
fn parse<'a>(
    bytes: &'a [u8],
    headers: &'a mut [httparse::Header<'a>],
) -> Result<Request<'a>, Response> {
    const TOO_LARGE: &str = "431 Request Header Fields Too Large";
    let mut request = httparse::Request::new(headers);
    match request.parse(bytes) {
        Ok(status) if status.is_complete() => {}
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Response::refusal(TOO_LARGE, "that is too much\n"));
        }
        Err(_) => {
            return Err(Response::refusal(
                "400 Bad Request",
                "that is no request of HTTP\n",
            ));
        }
    }
    let method = request.method.unwrap_or_default();
    if method != "GET" && method != "HEAD" {
        return Err(Response::refusal(
            "405 Method Not Allowed",
            "there is only GET and HEAD\n",
        ));
    }
    let target = request.path.unwrap_or_default();
    let host = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("host"));
    Ok(Request {
        is_head: method == "HEAD",
        path: target.split_once('?').map_or(target, |(path, _)| path),
        host: host.map(|header| std::str::from_utf8(header.value).unwrap_or("?")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> &'static str {
        let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADER_COUNT_MAX];
        match parse(bytes, &mut headers) {
            Ok(_) => "200",
            Err(refusal) => refusal.status.split(' ').next().unwrap(),
        }
    }

    #[test]
    fn requests_are_judged_by_their_heads() {
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "200");
        assert_eq!(status(b"HEAD /metrics HTTP/1.0\r\n\r\n"), "200");
        assert_eq!(status(b"POST / HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status(b"*1\r\n$4\r\nPING\r\n"), "400");
        assert_eq!(status(b"GET / HTTP/1.1\r\n"), "431");
        let lines = "a: b\r\n".repeat(METRICS_HEADER_COUNT_MAX + 1);
        assert_eq!(
            status(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()),
            "431"
        );
    }

    #[test]
    fn a_query_is_no_part_of_the_path() {
        let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADER_COUNT_MAX];
        let request = b"GET /metrics?x=1 HTTP/1.1\r\nhost: a:1\r\n\r\n";
        let request = parse(request, &mut headers).ok().unwrap();
        assert_eq!((request.path, request.host), ("/metrics", Some("a:1")));
    }
}
