//! CONFIG: reading and changing settings while the server runs.
//!
//! Changes have one order, whoever asks for them: the first core makes each (all of its settings or
//! none) and leaves the result in [`Shared`](super::Shared); then the others take whatever is there,
//! which is never older. So all cores end with the same values.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::resp::{Args, Reply};
use crate::shard::Shard;

use super::refusal::printed;
use super::settings::{self, SETTINGS, Setting, find};
use super::{
    Context, Core, Flags, Merge, Row, Run, Scope, SessionContext, Settings, Status, glob,
    reply_help,
};

pub(super) const ROWS: &[Row] = &[Row {
    name: "config",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "config|get",
        arity: -3,
        flags: OPERATOR,
        run: Run::Session(get),
        ..Row::BLANK
    },
    Row {
        name: "config|help",
        arity: 2,
        flags: ANY_TIME,
        run: Run::Session(help),
        ..Row::BLANK
    },
    Row {
        name: "config|resetstat",
        arity: 2,
        run: Run::Shard(reset_stat),
        ..EVERYWHERE
    },
    Row {
        name: "config|rewrite",
        arity: 2,
        flags: OPERATOR,
        run: Run::Session(rewrite_file),
        ..Row::BLANK
    },
    Row {
        name: "config|set",
        arity: -4,
        flags: OPERATOR.with(Flags::LED),
        run: Run::Shard(set),
        ..EVERYWHERE
    },
];

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE);
const OPERATOR: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(ANY_TIME);
const EVERYWHERE: Row = Row {
    flags: OPERATOR,
    scope: Scope::AllShards,
    merge: Merge::Ok,
    ..Row::BLANK
};

/// Every setting that a pattern names, once. One named in full is replied as it was spelled.
fn get(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let settings = &context.core.settings;
    let mut named: Vec<(&[u8], &Setting)> = Vec::new();
    for pattern in args.slice(2..).iter() {
        for setting in SETTINGS {
            let is_known = named.iter().any(|(_, known)| known.name == setting.name);
            if !is_known && glob::matches_ignoring_case(pattern, setting.name.as_bytes()) {
                let is_spelled = pattern.eq_ignore_ascii_case(setting.name.as_bytes());
                let name = if is_spelled {
                    pattern
                } else {
                    setting.name.as_bytes()
                };
                named.push((name, setting));
            }
        }
    }
    reply.map(named.len());
    for (name, setting) in named {
        reply.bulk(name);
        reply.bulk(settings.get(setting).as_bytes());
    }
}

fn set(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if !is_leader(context.core) {
        follow(context.core, context.shard);
        reply.ok();
        return Status::Done;
    }
    let outcome = with_changes(&context.core.settings, args.slice(2..)).and_then(|settings| {
        take(context.core, context.shard, settings).map_err(|(name, reason)| refuse(name, &reason))
    });
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error_bytes(&error),
    }
    Status::Done
}

/// Whether changes are made on this core first.
pub fn is_leader(core: &Core) -> bool {
    core.id == 0
}

/// Takes what the leader has made of the settings.
fn follow(core: &mut Core, shard: &mut Shard) {
    if let Some(settings) = core.shared.settings() {
        core.settings = settings;
        core.configure(shard);
    }
}

/// Brings what CONFIG SET could change to what `wanted` says, as a start with those settings would
/// have it on this host: on the leader, and then on the others, who take what it has. Returns the names
/// of what was otherwise on the leader; else why nothing has changed.
pub fn reload(
    core: &mut Core,
    shard: &mut Shard,
    wanted: &Settings,
) -> Result<Vec<&'static str>, String> {
    if !is_leader(core) {
        follow(core, shard);
        return Ok(Vec::new());
    }
    let maxmemory_bytes = match wanted.maxmemory_bytes {
        0 => core.facts.maxmemory_default_bytes,
        bytes => bytes,
    };
    let wanted = Settings {
        maxmemory_bytes,
        maxclients: wanted.maxclients.min(core.facts.clients_possible),
        appendonly: core.settings.appendonly,
        ..wanted.clone()
    };
    let mut settings = core.settings.clone();
    let mut changed = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| setting.is_live) {
        let text = wanted.get(setting);
        if text != settings.get(setting) {
            let outcome = settings.set(setting, &text);
            outcome
                .map_err(|misfit| format!("{}: {}", setting.name, misfit.for_operator(&text)))?;
            changed.push(setting.name);
        }
    }
    let outcome = take(core, shard, settings);
    outcome.map_err(|(name, reason)| format!("{name}: {reason}"))?;
    Ok(changed)
}

/// Why a setting cannot be taken: its name, and the reason.
type Refusal = (&'static str, String);

/// Takes the settings, and leaves them for the other cores; the region may refuse.
fn take(core: &mut Core, shard: &mut Shard, mut settings: Settings) -> Result<(), Refusal> {
    let possible = core.facts.clients_possible;
    if settings.maxclients > core.settings.maxclients.max(possible) {
        let reason = format!(
            "The operating system is not able to handle the specified number of clients, try with \
             {possible}"
        );
        return Err(("maxclients", reason));
    }
    if settings.appendonly != core.settings.appendonly {
        let reason = "dir decides, which is set at start".to_owned();
        return Err(("appendonly", reason));
    }
    if settings.maxmemory_bytes == 0 {
        settings.maxmemory_bytes = core.facts.maxmemory_default_bytes;
    }
    if settings.maxmemory_bytes != core.settings.maxmemory_bytes {
        let outcome = shard.region().set_maxmemory(settings.maxmemory_bytes);
        outcome.map_err(|error| ("maxmemory", error.to_string()))?;
    }
    core.shared.saving.set_unasked(settings.syncs_unasked());
    core.shared.set_settings(settings.clone());
    core.settings = settings;
    core.configure(shard);
    Ok(())
}

/// The settings with all of `pairs` changed; else what Redis says of the first that cannot be.
fn with_changes(settings: &Settings, pairs: Args<'_>) -> Result<Settings, Vec<u8>> {
    if !pairs.len().is_multiple_of(2) {
        return Err(b"ERR syntax error".to_vec());
    }
    let mut changes: Vec<(&Setting, &str)> = Vec::new();
    for index in (0..pairs.len()).step_by(2) {
        let name = pairs.get(index);
        let Some(setting) = std::str::from_utf8(name).ok().and_then(find) else {
            let reason = b"ERR Unknown option or number of arguments for CONFIG SET - '";
            return Err([&reason[..], printed(name), b"'"].concat());
        };
        // As the client wrote it; found, so it is text.
        let as_written = std::str::from_utf8(name).unwrap_or(setting.name);
        if !setting.is_live {
            return Err(refuse(as_written, "can't set immutable config"));
        }
        if changes.iter().any(|(known, _)| known.name == setting.name) {
            return Err(refuse(as_written, "duplicate parameter"));
        }
        let value = std::str::from_utf8(pairs.get(index + 1));
        changes.push((
            setting,
            value.map_err(|_| refuse(setting.name, "argument must be UTF-8"))?,
        ));
    }
    let mut changed = settings.clone();
    for (setting, value) in changes {
        changed
            .set(setting, value)
            .map_err(|misfit| refuse(setting.name, &misfit.for_client()))?;
    }
    Ok(changed)
}

fn refuse(name: &str, reason: &str) -> Vec<u8> {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}").into_bytes()
}

/// Writes the settings into the file that the server was started with: into another one first, so
/// that there is a whole file at any moment.
fn rewrite_file(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    let core = &context.core;
    let path = Path::new(&core.facts.config_file);
    if path.as_os_str().is_empty() {
        return reply.error("ERR The server is running without a config file");
    }
    let resolved = Settings {
        maxmemory_bytes: core.facts.maxmemory_default_bytes,
        appendonly: core.settings.appendonly,
        ..Settings::default()
    };
    let written = fs::read_to_string(path).and_then(|text| {
        // One of its own for each core, which nobody else may have made or may read: it may hold the
        // password.
        let draft = path.with_extension(format!("rewrite-{}-{}", std::process::id(), core.id));
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        let text = settings::rewrite(&text, &core.settings, &resolved);
        let replaced = fs::metadata(path)
            .and_then(|metadata| file.set_permissions(metadata.permissions()))
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&draft, path));
        replaced.inspect_err(|_| _ = fs::remove_file(&draft))
    });
    match written {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(&format!("ERR Rewriting config file: {error}")),
    }
}

fn reset_stat(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    context.core.stats.reset();
    context.core.tally.reset();
    context.core.shared.saving.forget_longest();
    let shard = context.shard.stats();
    context.core.expired_count_at_reset = shard.expired_count;
    context.core.evicted_count_at_reset = shard.evicted_count;
    reply.ok();
    Status::Done
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "CONFIG", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "GET <pattern> [<pattern> ...]",
    "    Return the settings that match a glob-like pattern, with their values.",
    "SET <name> <value> [<name> <value> ...]",
    "    Change settings: all of them or none.",
    "REWRITE",
    "    Write the settings into the file that the server was started with.",
    "RESETSTAT",
    "    Begin the counts of INFO anew.",
];

#[cfg(test)]
mod tests;
