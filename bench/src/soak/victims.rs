//! Clients that vanish where it is most inconvenient, and the question whether they left anything.
//!
//! Each way opens a connection, leaves something half done and is dropped, which closes the socket: with
//! a reset where replies were unread. Whatever was not sent whole must never run, so all of them aim
//! their unfinished write at one key, which must not exist.

use super::client::{Client, command};

/// The key of every write that is not finished.
const UNFINISHED: &str = "soak:unfinished";
/// A value that clients ask for and do not read.
const LARGE: &str = "soak:large";
const LARGE_LEN_BYTES: usize = 256 << 10;
/// Replies that are not read: 4 MiB, more than socket buffers hold.
const UNREAD_COUNT: usize = 16;
/// SETs before one that is cut in the middle.
const PIPELINE_LEN: usize = 100;

/// A client leaves something half done.
type Way = fn(&str, &mut Client) -> Result<(), String>;
const WAYS: &[(&str, Way)] = &[
    ("says nothing", |_, _| Ok(())),
    ("half a pipeline", half_a_pipeline),
    ("half a large value", half_a_large_value),
    ("unread replies", unread_replies),
    ("an open transaction", an_open_transaction),
    ("killed by another", killed_by_another),
];

/// Clients of one call of [`kill_some`].
pub(super) const COUNT: usize = WAYS.len();

/// Lets a client vanish in every way; then nothing unfinished may have run.
pub(super) fn kill_some(address: &str) -> Result<(), String> {
    for (name, way) in WAYS {
        let mut victim = Client::connect(address)?;
        way(address, &mut victim).map_err(|error| format!("{name}: {error}"))?;
    }
    match Client::connect(address)?
        .ask(&["EXISTS", UNFINISHED])?
        .as_str()
    {
        "0" => Ok(()),
        _ => Err("a write that was not sent whole has run".to_owned()),
    }
}

fn half_a_pipeline(_: &str, victim: &mut Client) -> Result<(), String> {
    let whole = |index: usize| command(&["SET", &format!("soak:pipeline:{index}"), "value"]);
    let mut bytes: Vec<u8> = (0..PIPELINE_LEN).flat_map(whole).collect();
    let last = command(&["SET", UNFINISHED, "value"]);
    bytes.extend(&last[..last.len() / 2]);
    victim.send(&bytes)
}

fn half_a_large_value(_: &str, victim: &mut Client) -> Result<(), String> {
    let bytes = command(&["SET", UNFINISHED, &"v".repeat(LARGE_LEN_BYTES)]);
    victim.send(&bytes[..bytes.len() / 2])
}

fn unread_replies(_: &str, victim: &mut Client) -> Result<(), String> {
    victim.ask(&["SET", LARGE, &"v".repeat(LARGE_LEN_BYTES)])?;
    victim.send(&command(&["GET", LARGE]).repeat(UNREAD_COUNT))?;
    victim.reply().map(|_| ())
}

fn an_open_transaction(_: &str, victim: &mut Client) -> Result<(), String> {
    victim.ask(&["WATCH", LARGE])?;
    victim.ask(&["MULTI"])?;
    victim.ask(&["SET", UNFINISHED, "value"]).map(|_| ())
}

fn killed_by_another(address: &str, victim: &mut Client) -> Result<(), String> {
    let id = victim.ask(&["CLIENT", "ID"])?;
    let count = Client::connect(address)?.ask(&["CLIENT", "KILL", "ID", &id])?;
    if count == "1" && victim.is_closed() {
        return Ok(());
    }
    Err(format!("client {id} lives on; {count} were killed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_leave_nothing_and_what_they_left_would_be_noticed() {
        let mut config = coremap::Config::default();
        config.settings.port = 0;
        config.settings.shards = 2;
        config.settings.maxmemory_bytes = 64 << 20;
        let server = coremap::Server::start(config).unwrap();
        let address = server.local_addrs()[0].to_string();
        assert_eq!(kill_some(&address), Ok(()));
        let mut client = Client::connect(&address).unwrap();
        assert_eq!(
            client.ask(&["GET", "soak:pipeline:99"]),
            Ok("value".to_owned())
        );
        client.ask(&["SET", UNFINISHED, "value"]).unwrap();
        assert!(kill_some(&address).is_err());
        server.stop();
        server.wait().unwrap();
    }
}
