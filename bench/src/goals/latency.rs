//! What a GET of another core's key takes over one of a key of the connection's own core.
//!
//! A connection does not know which core serves it. So it asks for keys of both shards in blocks
//! that alternate, and the slower of the two is the other core's: if a core served both alike, the
//! ratio would be 1. Several connections are asked, since they land on different cores.

use std::io::{Read, Write};
use std::net::TcpStream;

use coremap::hash::{cluster_slot, shard_of_slot};
use hdrhistogram::Histogram;

use super::Scale;
use crate::clock;
use crate::peers::Peer;
use crate::table::Spread;

const CONNECTION_COUNT: usize = 8;
/// GETs of one key before it is the other's turn.
const BLOCK_LEN: usize = 200;
const SHARD_COUNT: u16 = 2;
const LATENCY_NS_MAX: u64 = 10_000_000_000;

/// Starts a server of two shards on both CPUs and measures; none if there is only one CPU.
pub(super) fn remote_over_local(
    coremap: &Peer,
    cpus: &[usize; 2],
    scale: &Scale,
) -> Result<Option<Spread>, String> {
    if cpus[0] == cpus[1] {
        return Ok(None);
    }
    let running = coremap.start(SHARD_COUNT.into(), 0, cpus)?;
    let block_count = usize::try_from(scale.embedded_count).unwrap_or(usize::MAX) / BLOCK_LEN / 10;
    let mut ratios = Vec::new();
    for _ in 0..CONNECTION_COUNT {
        let measured = ratio(&running.server.address, block_count);
        ratios.push(measured.map_err(|error| format!("{}: {error}", coremap.name))?);
    }
    Ok(Spread::of(ratios))
}

/// The slower median over the faster one, on one connection.
fn ratio(address: &str, block_count: usize) -> std::io::Result<f64> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let requests = [0, 1].map(|shard| format!("*2\r\n$3\r\nGET\r\n$16\r\n{}\r\n", key_of(shard)));
    let histogram = || Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, 3);
    let mut times = [histogram(), histogram()].map(|made| made.expect("these bounds are valid"));
    for shard in [0, 1] {
        let key = key_of(shard);
        let request = format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n$3\r\nabc\r\n");
        ask(&mut socket, request.as_bytes(), b"+OK\r\n")?;
    }
    for block in 0..2 * block_count {
        let (request, times) = (&requests[block % 2], &mut times[block % 2]);
        for _ in 0..BLOCK_LEN {
            let began_at = clock::now();
            ask(&mut socket, request.as_bytes(), b"$3\r\nabc\r\n")?;
            times.saturating_record(clock::ns_since(began_at));
        }
    }
    let [one, other] = times.map(|times| times.value_at_quantile(0.5));
    #[expect(clippy::cast_precision_loss, reason = "below the histogram's bound")]
    Ok(one.max(other) as f64 / one.min(other).max(1) as f64)
}

fn ask(socket: &mut TcpStream, request: &[u8], reply: &[u8]) -> std::io::Result<()> {
    let mut answer = [0; 16];
    socket.write_all(request)?;
    socket.read_exact(&mut answer[..reply.len()])?;
    if answer.starts_with(reply) {
        return Ok(());
    }
    Err(std::io::Error::other("a reply is not what was due"))
}

/// A key of 16 bytes that lives on a shard.
fn key_of(shard: u16) -> String {
    (0..)
        .map(|number| format!("k{number:015}"))
        .find(|key| shard_of_slot(cluster_slot(key.as_bytes()), SHARD_COUNT) == shard)
        .expect("slots spread over shards")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shards_are_asked_for_keys_of_their_own() {
        for shard in 0..SHARD_COUNT {
            assert_eq!(
                shard_of_slot(cluster_slot(key_of(shard).as_bytes()), SHARD_COUNT),
                shard
            );
            assert_eq!(key_of(shard).len(), 16);
        }
    }

    #[test]
    fn a_real_server_answers_both_and_the_ratio_is_one_or_more() {
        let mut config = coremap::Config::default();
        config.settings.port = 0;
        config.settings.shards = 2;
        config.settings.maxmemory_bytes = 64 << 20;
        let server = coremap::Server::start(config).unwrap();
        let measured = ratio(&server.local_addrs()[0].to_string(), 2).unwrap();
        assert!(measured >= 1.0);
        server.stop();
        server.wait().unwrap();
    }
}
