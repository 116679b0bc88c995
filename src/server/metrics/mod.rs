//! The metrics port: what Prometheus scrapes, and a page that people look at.
//!
//! ```text
//!   GET /metrics    numbers of every core, in Prometheus's text format          exposition
//!   GET /           the live page: one file, no other assets                    page.html
//!   GET /live.json  what the page plots, asked for once a second                live
//!
//!   thread ── accept ── request (http) ── inquiry to each core, answers (collect) ── text
//! ```
//!
//! All of it runs on threads of its own, beside the cores' CPUs where there are others. A core takes
//! part when it is asked for its numbers: it copies them, which takes microseconds, at most every
//! [`METRICS_FRESH_MS`](crate::limits::METRICS_FRESH_MS) however many ask.
//!
//! **Who may see what.** Metrics hold no keys and no values; whoever reaches the port may read them. The
//! page shows keys and slow commands: `metrics-page` says who may see it, by default clients of this
//! host. A browser of this host runs scripts of strangers, which the browser keeps from reading other
//! servers' answers unless a name of the stranger's points here; so to clients of this host the page
//! answers under an address or `localhost` and under no other name.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

mod collect;
mod exposition;
mod http;
mod live;

use collect::Fresh;
pub(super) use collect::Sources;
use http::{Request, Response};

use super::log::Repeated;
use super::socket;
use crate::atomic::{AtomicBool, Ordering};
use crate::error::Error;
use crate::limits::{
    ACCEPT_BACKOFF_MS, METRICS_PATIENCE_MS, METRICS_PATIENCE_PRESSED_MS, METRICS_THREAD_COUNT,
};
use crate::sys;

/// The page, whole.
const PAGE: &str = include_str!("page.html");

/// The threads of the port; dropping this ends them.
#[derive(Debug)]
pub(super) struct Metrics {
    listeners: Vec<Arc<TcpListener>>,
    is_stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Who may see the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Audience {
    Nobody,
    ThisHost,
    Everybody,
}

/// What the threads have in common.
#[derive(Debug)]
struct Site {
    sources: Sources,
    audience: Audience,
    metrics: Fresh,
    live: Fresh,
    is_stopping: Arc<AtomicBool>,
}

impl Metrics {
    /// Serves at `listeners`; nothing is started if there is none.
    pub(super) fn start(
        listeners: Vec<OwnedFd>,
        sources: Sources,
        page: &str,
    ) -> Result<Self, Error> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let site = Arc::new(Site {
            sources,
            audience: match page {
                "yes" => Audience::Everybody,
                "local" => Audience::ThisHost,
                _ => Audience::Nobody,
            },
            metrics: Fresh::default(),
            live: Fresh::default(),
            is_stopping: Arc::clone(&is_stopping),
        });
        let failed = |error| Error::start("cannot start a thread of the metrics port", &error);
        let mut metrics = Self {
            listeners: Vec::new(),
            is_stopping,
            threads: Vec::new(),
        };
        for listener in listeners {
            let listener = Arc::new(TcpListener::from(listener));
            listener.set_nonblocking(false).map_err(failed)?;
            metrics.listeners.push(Arc::clone(&listener));
            for _ in 0..METRICS_THREAD_COUNT {
                let (listener, site) = (Arc::clone(&listener), Arc::clone(&site));
                let thread = Builder::new()
                    .name("metrics".to_owned())
                    .spawn(move || site.serve_all(&listener))
                    .map_err(failed)?;
                metrics.threads.push(thread);
            }
        }
        Ok(metrics)
    }

    /// Where it is served, for the log; empty if nowhere.
    pub(super) fn addresses(&self) -> String {
        let addresses = self.listeners.iter().filter_map(|it| it.local_addr().ok());
        let urls: Vec<String> = addresses.map(|it| format!("http://{it}")).collect();
        urls.join(" ")
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        for listener in &self.listeners {
            socket::shutdown(listener.as_fd());
        }
        for thread in self.threads.drain(..) {
            // It holds nothing that anyone needs any more.
            _ = thread.join();
        }
    }
}

impl Site {
    fn serve_all(&self, listener: &TcpListener) {
        sys::keep_off(&self.sources.facts.cpus);
        sys::wake_without_preempting();
        while !self.is_stopping() {
            match listener.accept() {
                Ok((stream, peer)) => self.serve(listener, stream, peer),
                Err(_) if self.is_stopping() => return,
                Err(error) => {
                    self.sources.control.log.repeated(
                        Repeated::NotAccepted,
                        format_args!("cannot accept on the metrics port: {error}"),
                    );
                    std::thread::park_timeout(Duration::from_millis(ACCEPT_BACKOFF_MS));
                }
            }
        }
    }

    fn serve(&self, listener: &TcpListener, stream: TcpStream, peer: SocketAddr) {
        http::serve(
            stream,
            |spent_ms| !self.is_stopping() && spent_ms < patience_ms(listener),
            |request| self.answer(request, peer.ip()),
        );
    }

    fn answer(&self, request: &Request<'_>, peer: IpAddr) -> Response {
        let (metrics, live) = (&self.metrics, &self.live);
        match request.path {
            "/metrics" => Response::text(
                "text/plain; version=0.0.4; charset=utf-8",
                metrics.get(|| exposition::write(&self.sources.collect(false))),
            ),
            "/" | "/live.json" => match self.refusal(request, peer) {
                Some(reason) => Response::refusal("403 Forbidden", reason),
                None if request.path == "/" => Response::page(PAGE),
                None => Response::text(
                    "application/json",
                    live.get(|| live::write(&self.sources.collect(true))),
                ),
            },
            _ => Response::refusal("404 Not Found", "there are / and /metrics\n"),
        }
    }

    /// Why the page is not for this client, if it is not.
    fn refusal(&self, request: &Request<'_>, peer: IpAddr) -> Option<&'static str> {
        let is_local = peer.to_canonical().is_loopback();
        match self.audience {
            Audience::Nobody => Some("the page is off (metrics-page)\n"),
            Audience::ThisHost if !is_local => {
                Some("the page is for clients of the server's host (metrics-page)\n")
            }
            _ if is_local && !request.host.is_none_or(is_plain_host) => {
                Some("to clients of its host the page answers under an address or localhost\n")
            }
            _ => None,
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

/// How slow a client may be: less so while others wait for its thread.
fn patience_ms(listener: &TcpListener) -> u64 {
    if socket::has_waiting(listener.as_fd()) {
        METRICS_PATIENCE_PRESSED_MS
    } else {
        METRICS_PATIENCE_MS
    }
}

/// Whether a Host header names an address or `localhost`, with a port or without.
fn is_plain_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_plain_hosts() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9121",
            "[::1]:9121",
            "[::1]",
            "localhost:1",
            "LOCALHOST",
        ] {
            assert!(is_plain_host(host), "{host}");
        }
        for host in ["", "evil.example:9121", "localhost.evil.example", ":80"] {
            assert!(!is_plain_host(host), "{host}");
        }
    }

    #[test]
    fn a_slow_client_has_less_time_while_another_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(patience_ms(&listener), METRICS_PATIENCE_MS);
        let _waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(patience_ms(&listener), METRICS_PATIENCE_PRESSED_MS);
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for word in ["src=", "@import", "//cdn", "https://"] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }
}
