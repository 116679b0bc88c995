//! The server: one pinned thread per core, each with an executor, a lane and its listeners.
//!
//! ```text
//!   Config ──► probe ──► region, shards, lanes ──► listeners ──► executors ──► ready
//!                                                                   │
//!                     stop (handle or signal) ──► drain ──► wait ◄──┘
//! ```
//!
//! This folder is the only one that is asynchronous, reads clocks, makes system calls and writes
//! to a log; everything below is given bytes and time. Files: start and stop (`mod`, `listen`,
//! `probe`, `host`), the data directory (`data`), what a core runs (`executor`, `engine`, `poller`,
//! `accept`, `connection`, `signal`, `ticker`), what cores share (`control`), what works beside them
//! (`preparer`, `syncer`, `monitor`, `metrics`), what a service manager asks for and hears (`reload`,
//! `notify`, `signals`, `inherit`), and the edges to the system (`socket`, `readiness`, `clock`,
//! `process`, `crash`, `log`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use glommio::ExecutorJoinHandle;

mod accept;
mod build;
mod clock;
mod connection;
mod control;
mod crash;
mod data;
mod engine;
mod executor;
pub(crate) mod host;
mod inherit;
mod listen;
mod log;
mod metrics;
mod monitor;
mod notify;
mod poller;
mod preparer;
pub(crate) mod probe;
mod process;
mod readiness;
mod reload;
mod signal;
mod signals;
mod socket;
mod syncer;
mod ticker;

use accept::Listener;
use control::Control;
use engine::EngineParts;
use executor::{Seat, Timing};
use inherit::Inherited;
use log::Log;
use metrics::{Metrics, Sources};
use monitor::Monitor;
use notify::Notifier;
use preparer::Preparer;
use reload::Reload;
use signals::{Caught, Signals};
use syncer::Syncer;

pub(crate) use reload::Reread;

use crate::command::Shared;
use crate::config::Config;
use crate::error::Error;
use crate::lane::Options;

/// A running server.
///
/// ```
/// use std::io::{Read, Write};
///
/// let mut config = coremap::Config::default();
/// config.settings.port = 0;
/// config.settings.maxmemory_bytes = 64 << 20;
/// let server = coremap::Server::start(config)?;
///
/// let mut client = std::net::TcpStream::connect(server.local_addrs()[0])?;
/// client.write_all(b"PING\r\n")?;
/// let mut reply = [0; 7];
/// client.read_exact(&mut reply)?;
/// assert_eq!(&reply, b"+PONG\r\n");
///
/// server.stop();
/// server.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    control: Arc<Control>,
    threads: Vec<ExecutorJoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    unixsocket: Option<PathBuf>,
    /// Ends when the server is dropped.
    _preparer: Preparer,
    /// Ends when the server is dropped.
    metrics: Option<Metrics>,
    /// Where there is a data directory.
    syncer: Option<Syncer>,
    /// Where a service manager listens.
    monitor: Option<Monitor>,
    shared: Arc<Shared>,
}

/// The process, if it is the server's own: what reaches it from outside.
#[derive(Debug)]
pub(crate) struct Process {
    signals: Signals,
    sockets: Vec<Inherited>,
}

/// Stops a [`Server`] from elsewhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    control: Arc<Control>,
}

impl Server {
    /// Starts a server; returns when every core accepts connections.
    ///
    /// # Errors
    /// What the configuration asks for makes no sense, or the host refuses it. Nothing is left
    /// running then.
    pub fn start(config: Config) -> Result<Self, Error> {
        let log = Log::open(&config)?;
        Self::start_then(config, log, Vec::new(), |_, _| Ok(()))
    }

    /// The same for a process of its own: from the moment it listens it obeys signals, and tells the
    /// service manager, if there is one, how it is. `warnings` are what reading `config` gave, and `reread`
    /// gives the configuration anew.
    pub(crate) fn start_as(
        config: Config,
        warnings: &[String],
        process: Process,
        reread: Reread,
    ) -> Result<Self, Error> {
        crate::sys::give_long_allocations_back();
        let Process { signals, sockets } = process;
        let started = config.settings.clone();
        let log = Log::open(&config)?;
        for warning in warnings {
            log.warning(format_args!("{warning}"));
        }
        let mut monitor = None;
        let mut server = Self::start_then(config, log, sockets, |server, plan| {
            let notifier = Notifier::from_environment(server.log()).map(Arc::new);
            let reload = Reload {
                reread,
                started,
                control: Arc::clone(&server.control),
                shared: Arc::clone(&server.shared),
                notifier: notifier.clone(),
            };
            server.obey(signals, reload)?;
            if let Some(notifier) = notifier {
                let (control, shared) = (Arc::clone(&server.control), Arc::clone(&server.shared));
                let started = Monitor::start(notifier, control, shared, plan.cpus.clone());
                monitor = Some(started?);
            }
            Ok(())
        })?;
        if let Some(monitor) = &monitor {
            monitor.announce_ready();
        }
        server.monitor = monitor;
        Ok(server)
    }

    fn start_then(
        config: Config,
        log: Arc<Log>,
        sockets: Vec<Inherited>,
        when_listening: impl FnOnce(&Self, &build::Plan) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        config.check()?;
        let settings = &config.settings;
        let plan = build::plan(settings, &log)?;
        let ring_depth = probe::io_uring(plan.core_count(), plan.ring_depth_max)?;
        let listeners = listen::open(&config, &plan.cpus, sockets, &log)?;
        let addresses = listeners.addresses;
        let metrics_listeners = listen::open_metrics(&config, &log)?;
        let build::Built {
            lanes,
            region,
            data,
        } = build::cores(&config, &plan, &addresses)?;
        let shared = Arc::clone(&lanes[0].core.shared);
        let (control, doorbells) = build::control(plan.core_count(), log)?;
        let timing = Timing {
            ring_depth,
            preempt_timer: Duration::from_micros(settings.preempt_timer_us),
            guard_timer: Duration::from_micros(settings.guard_timer_us),
        };
        let mut server = Self {
            control: Arc::clone(&control),
            threads: Vec::new(),
            addresses,
            unixsocket: listeners.unixsocket,
            _preparer: Preparer::start(Arc::clone(&region), plan.cpus.clone())?,
            metrics: None,
            syncer: None,
            monitor: None,
            shared: Arc::clone(&shared),
        };
        let sources = Sources {
            control: Arc::clone(&control),
            shared: Arc::clone(&shared),
            facts: Arc::clone(&lanes[0].core.facts),
            region: Arc::clone(&region),
        };
        let cores = lanes
            .into_iter()
            .zip(listeners.by_core)
            .zip(doorbells)
            .zip(plan.cpus.iter().copied());
        server.start_cores(cores, timing, plan.busy_poll_us)?;
        server.metrics = Some(Metrics::start(
            metrics_listeners,
            sources,
            &settings.metrics_page,
        )?);
        when_listening(&server, &plan)?;
        if let Some(data) = data {
            data.load(&control)?;
            server.syncer = Some(Syncer::start(region, control, shared, plan.cpus.clone())?);
        }
        server.log_start(&plan);
        Ok(server)
    }

    /// Starts a thread for each core; returns when all serve.
    fn start_cores(
        &mut self,
        cores: impl Iterator<Item = (((Options, Vec<Listener>), OwnedFd), usize)>,
        timing: Timing,
        busy_poll_us: u32,
    ) -> Result<(), Error> {
        let (ready, is_ready) = mpsc::channel();
        for (id, (((lane, listeners), doorbell), cpu)) in (0..).zip(cores) {
            let readiness = build::readiness(&doorbell, &listeners, busy_poll_us)?;
            let engine = EngineParts {
                id,
                control: Arc::clone(&self.control),
                readiness,
                doorbell,
                listeners,
            };
            let seat = Seat {
                cpu,
                lane,
                engine,
                timing,
                ready: ready.clone(),
            };
            let thread = executor::spawn(seat).map_err(|error| build::executor_failed(&error))?;
            self.threads.push(thread);
        }
        drop(ready);
        self.wait_until_ready(&is_ready)
    }

    /// The TCP addresses it listens on, in the order of `bind`, with the port in use.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to stop: no new connections, those that are there get the replies to what they have
    /// sent (for a few seconds at most), then are closed. [`Self::wait`] returns when it is done.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// A handle that stops the server from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            control: Arc::clone(&self.control),
        }
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    /// A core's thread has failed.
    pub fn wait(mut self) -> Result<(), Error> {
        self.join()
    }

    /// Obeys signals: stops at the first that says so, and ends the process at the second.
    fn obey(&self, signals: Signals, reload: Reload) -> Result<(), Error> {
        let (stopper, shared) = (self.stopper(), Arc::clone(&self.shared));
        let wait_for_end = move || loop {
            match signals.wait() {
                Caught::End(name) => return name,
                Caught::Reload => reload.run(),
            }
        };
        let run = move || {
            let exit = |code| {
                log::wait_until_written();
                std::process::exit(code)
            };
            let log = &stopper.control.log;
            log.line(format_args!("{}: stopping", wait_for_end()));
            if shared.loading.is_under_way() {
                // Nothing was served, and the file can be left at any moment.
                exit(0);
            }
            stopper.stop();
            log.line(format_args!("{}: again, stopping at once", wait_for_end()));
            exit(1);
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(run)
            .map_err(|error| Error::start("cannot start the signal thread", &error))?;
        Ok(())
    }

    fn wait_until_ready(&mut self, is_ready: &mpsc::Receiver<u16>) -> Result<(), Error> {
        for _ in 0..self.threads.len() {
            if is_ready.recv().is_err() {
                // A thread ended before it served; its reason is in its result.
                self.control.stop();
                self.join()?;
                return Err(Error::Start("a core's thread ended at once".to_owned()));
            }
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            if let Err(error) = thread.join() {
                result = Err(build::executor_failed(&error));
            }
        }
        if let Some(syncer) = self.syncer.take() {
            // No core runs any more: what is on disk now is all there is.
            result = result.and(syncer.finish());
        }
        if let Some(path) = self.unixsocket.take() {
            // Gone already is as good.
            _ = std::fs::remove_file(path);
        }
        log::wait_until_written();
        result
    }

    fn log(&self) -> &Log {
        &self.control.log
    }

    fn log_start(&self, plan: &build::Plan) {
        let log = self.log();
        log.line(format_args!(
            "version {}, {} shards on CPUs {}, maxmemory {} MiB ({})",
            env!("CARGO_PKG_VERSION"),
            plan.core_count(),
            plan.cpus_text(),
            plan.maxmemory_bytes >> 20,
            plan.maxmemory_source,
        ));
        let mut places: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        places.extend(
            self.unixsocket
                .iter()
                .map(|path| path.display().to_string()),
        );
        log.line(format_args!("ready on {}", places.join(" ")));
        if let Some(metrics) = self
            .metrics
            .as_ref()
            .filter(|it| !it.addresses().is_empty())
        {
            log.line(format_args!("metrics on {}", metrics.addresses()));
        }
    }
}

impl Drop for Server {
    /// Stops and waits, if [`Server::wait`] has not.
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.control.stop();
            // Who wants to know the result calls `wait`.
            _ = self.join();
        }
    }
}

impl Stopper {
    /// As [`Server::stop`].
    pub fn stop(&self) {
        self.control.stop();
    }
}

/// Makes the process the server's: crash reports, signals that it obeys, and the sockets that a service
/// manager has opened for it. To be called before the first thread is started.
pub(crate) fn take_over_process() -> Result<Process, Error> {
    let sockets = inherit::sockets()?;
    crash::install().map_err(|error| Error::start("cannot install the crash report", &error))?;
    let signals = Signals::block().map_err(|error| Error::start("cannot block signals", &error))?;
    Ok(Process { signals, sockets })
}
