//! From a configuration and a host to the parts of a server: what depends on the host is resolved
//! here, once, and everything below gets numbers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use glommio::GlommioError;

use super::accept::Listener;
use super::clock::Clock;
use super::control::Control;
use super::data::Data;
use super::log::Log;
use super::readiness::{Readiness, Watched};
use super::{host, notify, probe, socket};
use crate::command::{Core, Facts, Settings, Shared};
use crate::config::Config;
use crate::error::Error;
use crate::hash::Hasher;
use crate::lane::{Links, Options};
use crate::limits::{DESCRIPTORS_OF_PROCESS, DESCRIPTORS_PER_CORE, MAXMEMORY_DEFAULT_PERCENT};
use crate::region::{Region, RegionOptions};
use crate::shard::Shard;

/// What a configuration means on this host.
#[derive(Debug)]
pub(super) struct Plan {
    /// The CPU of each core; one may serve several.
    pub(super) cpus: Vec<usize>,
    pub(super) maxmemory_bytes: u64,
    maxmemory_default_bytes: u64,
    /// Where that number came from, for the log.
    pub(super) maxmemory_source: String,
    maxclients: u64,
    /// What the limit of open files leaves for clients.
    clients_possible: u64,
    host_memory_bytes: u64,
    /// Of each executor, if there is memory to lock for it.
    pub(super) ring_depth_max: u32,
    /// For which the kernel polls network cards; 0 if it does not.
    pub(super) busy_poll_us: u32,
}

impl Plan {
    pub(super) fn core_count(&self) -> usize {
        self.cpus.len()
    }

    /// The CPUs, each once.
    fn cpus_once(&self) -> Vec<usize> {
        let mut cpus = self.cpus.clone();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }

    /// The CPUs for the log, each once.
    pub(super) fn cpus_text(&self) -> String {
        let cpus = self.cpus_once();
        let texts: Vec<_> = cpus.iter().map(ToString::to_string).collect();
        texts.join(",")
    }
}

/// Resolves what the settings leave to the host.
pub(super) fn plan(settings: &Settings, log: &Log) -> Result<Plan, Error> {
    let wanted = Some(settings.cpus.as_slice()).filter(|cpus| !cpus.is_empty());
    let allowed = host::cpus(wanted)?;
    let core_count = match settings.shards {
        0 => allowed.len(),
        count => usize::try_from(count).expect("checked: at most SHARD_COUNT_MAX"),
    };
    let cpus: Vec<usize> = allowed.into_iter().cycle().take(core_count).collect();
    let (host_memory_bytes, limit_name) = host::memory_bytes(&host::Subject::default());
    let maxmemory_default_bytes = host_memory_bytes / 100 * MAXMEMORY_DEFAULT_PERCENT;
    let (maxmemory_bytes, maxmemory_source) = match settings.maxmemory_bytes {
        0 => (
            maxmemory_default_bytes,
            format!("{MAXMEMORY_DEFAULT_PERCENT} % of {limit_name}"),
        ),
        bytes => (bytes, "as configured".to_owned()),
    };
    let clients_possible = make_room_for_clients(settings.maxclients, core_count, log)?;
    Ok(Plan {
        cpus,
        maxmemory_bytes,
        maxmemory_default_bytes,
        maxmemory_source,
        maxclients: settings.maxclients.min(clients_possible),
        clients_possible,
        host_memory_bytes,
        ring_depth_max: u32::try_from(settings.ring_depth).expect("checked: at most 1,024"),
        busy_poll_us: u32::try_from(settings.busy_poll_us).expect("checked: at most 100,000"),
    })
}

/// Raises the limit of descriptors to what `maxclients` needs, or as far as it goes; returns how
/// many clients there can be.
fn make_room_for_clients(maxclients: u64, core_count: usize, log: &Log) -> Result<u64, Error> {
    let reserve = DESCRIPTORS_OF_PROCESS + DESCRIPTORS_PER_CORE * core_count as u64;
    let limit = probe::raise_descriptors(maxclients + reserve);
    let possible = limit.saturating_sub(reserve);
    if possible == 0 {
        return Err(Error::Start(format!(
            "{limit} open files are too few for {core_count} shards; raise `ulimit -n`, or \
             LimitNOFILE= in the service file"
        )));
    }
    if possible < maxclients {
        log.warning(format_args!(
            "maxclients is {possible} instead of {maxclients}: the limit of open files \
             is {limit}; raise `ulimit -n`, or LimitNOFILE= in the service file"
        ));
    }
    Ok(possible)
}

/// What the cores are made of.
pub(super) struct Built {
    /// Of all cores: linked, with empty shards in one region.
    pub(super) lanes: Vec<Options>,
    /// Where the keys will live: the region of those shards, or of the data that is to replace them.
    pub(super) region: Arc<Region>,
    /// The data to load, if there is a directory.
    pub(super) data: Option<Data>,
}

/// Makes them.
pub(super) fn cores(
    config: &Config,
    plan: &Plan,
    addresses: &[SocketAddr],
) -> Result<Built, Error> {
    let core_count = u16::try_from(plan.core_count()).expect("limits: at most SHARD_COUNT_MAX");
    let mut seeds = [0; 4];
    for seed in &mut seeds {
        *seed = random_u64()?;
    }
    let hasher = Hasher::new(seeds);
    let region = Arc::new(region(&config.settings, plan)?);
    let port = addresses.first().map_or(0, SocketAddr::port);
    let settings = settings(config, plan, port);
    let facts = Arc::new(facts(config, plan, port)?);
    let shared = Arc::new(Shared::new(core_count));
    let data = if config.settings.dir.is_empty() {
        None
    } else {
        let (hasher, shared) = (hasher.clone(), Arc::clone(&shared));
        Some(Data::open(&config.settings, plan, hasher, shared)?)
    };
    let mut lanes = Vec::with_capacity(plan.core_count());
    for (id, links) in (0..).zip(Links::mesh(core_count)) {
        let core = Core::new(
            id,
            settings.clone(),
            Arc::clone(&facts),
            Arc::clone(&shared),
            random_u64()?,
        );
        let shard =
            Shard::new(Arc::clone(&region), id, hasher.clone()).map_err(|_| too_small(plan))?;
        lanes.push(Options {
            shard,
            core,
            links,
            region: Arc::clone(&region),
            hasher: hasher.clone(),
        });
    }
    let region = data
        .as_ref()
        .map_or(region, |data| Arc::clone(data.region()));
    Ok(Built {
        lanes,
        region,
        data,
    })
}

/// The memory for keys, values and index, or for what comes before them.
fn region(settings: &Settings, plan: &Plan) -> Result<Region, Error> {
    let mut region = Region::anonymous(RegionOptions {
        maxmemory_bytes: plan.maxmemory_bytes,
        shard_count: plan.core_count(),
    })?;
    if !settings.huge_pages {
        region.refuse_huge_pages();
    }
    if settings.lock_memory {
        let locked = region.lock();
        locked.map_err(|error| {
            let fix = probe::lock_fix(&error);
            Error::start(
                format_args!("lock-memory: the kernel refuses, {fix}"),
                &error,
            )
        })?;
    }
    if settings.prefault {
        let there = region.prefault();
        there.map_err(|error| {
            Error::start("prefault: there is not as much memory as maxmemory", &error)
        })?;
    }
    Ok(region)
}

/// The region is large enough for each shard's first blocks, so this is not expected.
fn too_small(plan: &Plan) -> Error {
    Error::Start(format!(
        "maxmemory is {} bytes, which is too little for {} shards",
        plan.maxmemory_bytes,
        plan.core_count()
    ))
}

/// What CONFIG GET shows and CONFIG SET may change.
fn settings(config: &Config, plan: &Plan, port: u16) -> Settings {
    Settings {
        port: port.into(),
        maxclients: plan.maxclients,
        maxmemory_bytes: plan.maxmemory_bytes,
        shards: plan.core_count() as u64,
        cpus: plan.cpus_once(),
        appendonly: !config.settings.dir.is_empty(),
        ..config.settings.clone()
    }
}

fn facts(config: &Config, plan: &Plan, port: u16) -> Result<Facts, Error> {
    let text = |path: &std::path::Path| path.display().to_string();
    let mut run_id = String::new();
    while run_id.len() < 40 {
        run_id.push_str(&format!("{:016x}", random_u64()?));
    }
    run_id.truncate(40);
    let clock = Clock::new();
    Ok(Facts {
        core_count: u16::try_from(plan.core_count()).expect("limits: at most SHARD_COUNT_MAX"),
        cpus: plan.cpus.clone(),
        run_id,
        process_id: std::process::id(),
        is_supervised: notify::place().is_some(),
        port,
        config_file: config.config_file.as_deref().map_or_else(String::new, text),
        executable: std::env::current_exe()
            .as_deref()
            .map_or_else(|_| String::new(), text),
        operating_system: host::operating_system(),
        started_at_ms: clock.unix_us(clock.moment()) / 1_000,
        maxmemory_default_bytes: plan.maxmemory_default_bytes,
        clients_possible: plan.clients_possible,
        total_memory_bytes: plan.host_memory_bytes,
    })
}

fn random_u64() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| Error::Start(format!("cannot get random numbers: {error}")))
}

/// The control block, and the ends of the doorbells that listen, by core.
pub(super) fn control(
    core_count: usize,
    log: Arc<Log>,
) -> Result<(Arc<Control>, Vec<OwnedFd>), Error> {
    let mut ringers = Vec::with_capacity(core_count);
    let mut listeners = Vec::with_capacity(core_count);
    for _ in 0..core_count {
        let (ringer, listener) =
            socket::doorbell().map_err(|error| Error::start("cannot make a doorbell", &error))?;
        ringers.push(ringer);
        listeners.push(listener);
    }
    Ok((Arc::new(Control::new(ringers, log)), listeners))
}

/// What one core watches from the start.
pub(super) fn readiness(
    doorbell: &OwnedFd,
    listeners: &[Listener],
    busy_poll_us: u32,
) -> Result<Readiness, Error> {
    let make = || {
        let readiness = Readiness::new()?;
        if busy_poll_us > 0 {
            readiness.poll_busily(busy_poll_us).map_err(|error| {
                let what = "busy-poll-us: the kernel refuses (Linux 6.9 or newer is needed)";
                io::Error::new(error.kind(), format!("{what}: {error}"))
            })?;
        }
        readiness.watch(doorbell.as_fd(), Watched::Doorbell)?;
        for (index, listener) in listeners.iter().enumerate() {
            readiness.watch(listener.socket.as_fd(), Watched::Listener(index))?;
        }
        Ok(readiness)
    };
    make().map_err(|error: io::Error| Error::start("cannot watch sockets", &error))
}

/// The line for an executor that could not be made, or ended by itself.
pub(super) fn executor_failed(error: &GlommioError<()>) -> Error {
    match error {
        GlommioError::IoError(error) if error.raw_os_error() == Some(libc::ENOMEM) => Error::Start(
            "cannot start an executor: not enough lockable memory; raise `ulimit -l`, or \
                 LimitMEMLOCK= in the service file, or use fewer shards"
                .to_owned(),
        ),
        error => Error::Start(format!("an executor failed: {error}")),
    }
}
