//! The servers that can be measured, and how each is started.
//!
//! A peer is a command line with places to fill in: `{port}`, `{shards}` (how many cores it may
//! use; Redis, which runs commands on one, has no use for it), `{maxmemory}` (bytes, 0 for no bound)
//! `{dir}` (an empty folder of its own) and `{empty}` (an argument without a letter). Every peer is pinned to the same CPUs. All keep their
//! data in memory alone, but for the LSM tree, which has files by its nature and never syncs them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::load::{Dialect, Operation};
use crate::machine;
use crate::process::{self, Folder, Server};

/// A server to measure.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// The command line, with places to fill in.
    words: Vec<String>,
    pub(crate) dialect: Dialect,
    is_coremap: bool,
    /// What it says it is.
    pub(crate) version: String,
}

/// Those who are measured beside Coremap where they are installed. Memory bounds would only be to
/// their disadvantage (they overwrite in place), so they have none that is ever met.
const ADAPTERS: &[(&str, &str)] = &[
    (
        "redis",
        "redis-server --port {port} --bind 127.0.0.1 --save {empty} --appendonly no",
    ),
    (
        "memcached",
        "memcached -p {port} -U 0 -l 127.0.0.1 -u nobody -t {shards} -m 100000 -c 4096 -R 1000",
    ),
    (
        "lsm",
        "{this} lsm --port {port} --dir {dir} --threads {shards}",
    ),
];

/// How a build of Coremap is started.
const COREMAP: &str = "--port {port} --shards {shards} --maxmemory {maxmemory}";

/// A running peer.
pub(crate) struct Running {
    pub(crate) server: Server,
    _folder: Folder,
}

impl Peer {
    /// Coremap from one of its binaries.
    pub(crate) fn coremap(name: &str, program: &Path) -> Result<Self, String> {
        let program = program.to_string_lossy().into_owned();
        let arguments = COREMAP.split(' ').map(str::to_owned);
        let words = std::iter::once(program).chain(arguments).collect();
        Ok(Self {
            is_coremap: true,
            ..Self::installed(name, words)?
        })
    }

    /// One of the adapters; the inner error says that it is not installed.
    pub(crate) fn adapter(name: &str) -> Result<Result<Self, String>, String> {
        let (_, command) = ADAPTERS
            .iter()
            .find(|(adapter, _)| *adapter == name)
            .ok_or_else(|| format!("`{name}` is none of coremap, redis, memcached and lsm"))?;
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let this = this.to_string_lossy();
        let fill = |word: &str| word.replace("{this}", &this);
        Ok(Self::installed(
            name,
            command.split(' ').map(fill).collect(),
        ))
    }

    /// Any other server, as `name=command`; its words are separated by spaces.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, command) = text
            .split_once('=')
            .filter(|(name, command)| !name.is_empty() && command.contains("{port}"))
            .ok_or_else(|| format!("`{text}` is not name=command with a {{port}} in it"))?;
        let words = command.split_whitespace().map(str::to_owned).collect();
        Self::installed(name, words)
    }

    fn installed(name: &str, words: Vec<String>) -> Result<Self, String> {
        let version = if name == "lsm" {
            format!("fjall {}", machine::locked_version("fjall"))
        } else {
            machine::version(Path::new(&words[0])).ok_or(format!("{} is not there", words[0]))?
        };
        Ok(Self {
            dialect: if name == "memcached" {
                Dialect::Memcached
            } else {
                Dialect::Resp
            },
            is_coremap: false,
            name: name.to_owned(),
            version,
            words,
        })
    }

    /// Starts it, empty, with one core for each shard: the first of `cpus`.
    pub(crate) fn start(
        &self,
        shards: usize,
        maxmemory_bytes: u64,
        cpus: &[usize],
    ) -> Result<Running, String> {
        let folder = Folder::new(&self.name.replace('/', "_"))?;
        let server = self.spawn(&[], folder.path(), shards, maxmemory_bytes, cpus)?;
        Ok(Running {
            server,
            _folder: folder,
        })
    }

    /// Starts Coremap with the data that a folder holds, which is kept there.
    pub(crate) fn start_on(
        &self,
        folder: &Path,
        shards: usize,
        cpus: &[usize],
    ) -> Result<Server, String> {
        let kept = ["--dir", "{dir}"].map(str::to_owned);
        self.spawn(&kept, folder, shards, 0, cpus)
    }

    fn spawn(
        &self,
        more_words: &[String],
        folder: &Path,
        shards: usize,
        maxmemory_bytes: u64,
        cpus: &[usize],
    ) -> Result<Server, String> {
        let port = process::free_port()?;
        let words: Vec<String> = self
            .words
            .iter()
            .chain(more_words)
            .map(|word| {
                word.replace("{port}", &port.to_string())
                    .replace("{shards}", &shards.to_string())
                    .replace("{maxmemory}", &maxmemory_bytes.to_string())
                    .replace("{dir}", &folder.to_string_lossy())
                    .replace("{empty}", "")
            })
            .collect();
        Server::start(&words, port, &cpus[..shards.clamp(1, cpus.len())])
    }

    /// Whether it knows a command; the LSM server has what it takes to be compared.
    pub(crate) fn can(&self, operation: Operation) -> bool {
        use Operation::{Del, Get, Mixed, Ping, Set, SetDel};
        match self.name.as_str() {
            "memcached" => operation.is_of_memcached(),
            "lsm" => matches!(operation, Get | Set | Mixed { .. } | Ping | Del | SetDel),
            _ => true,
        }
    }

    /// The longest turn of any core so far in microseconds, of those who tell: Coremap in INFO.
    pub(crate) fn longest_turn_us(&self, address: &str) -> Option<f64> {
        self.is_coremap
            .then(|| self.info(address, "coremap_turn_longest_us"))?
    }

    /// A number that a running server tells in INFO.
    pub(crate) fn info(&self, address: &str, field: &str) -> Option<f64> {
        let mut socket = TcpStream::connect(address).ok()?;
        socket.write_all(b"INFO everything\r\nQUIT\r\n").ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        let value = |line: &str| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok();
        text.lines().find_map(value)
    }

    /// Starts it with one more option of the command line, or with another value of one it has.
    pub(crate) fn set_option(&mut self, name: &str, value: &str) {
        let option = format!("--{name}");
        match self.words.iter().position(|word| *word == option) {
            Some(place) => value.clone_into(&mut self.words[place + 1]),
            None => self.words.extend([option, value.to_owned()]),
        }
    }

    /// Starts it with one more variable in its environment.
    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        // The program takes the place of `env`, so the process is the server's all the same.
        let words = ["env".to_owned(), format!("{name}={value}")];
        self.words.splice(0..0, words);
    }

    /// The command line as a record shows it, its program without the folder.
    pub(crate) fn command(&self) -> String {
        let program = Path::new(&self.words[0]).file_name().unwrap_or_default();
        let arguments = self.words[1..].join(" ");
        format!("{} {arguments}", program.to_string_lossy())
    }
}

/// Where the coremap binary is, unless it was named: beside this program.
pub(crate) fn beside_this() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(this.with_file_name("coremap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_of_ones_own_is_a_name_and_a_command_with_a_port() {
        let peer = Peer::parse("shell=sh -c {port}").unwrap();
        assert_eq!(
            (peer.name.as_str(), peer.command()),
            ("shell", "sh -c {port}".to_owned())
        );
        for wrong in ["sh", "=sh {port}", "a=sh", "a=/not/there {port}"] {
            assert!(Peer::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_option_that_is_there_gets_another_value_and_others_are_added() {
        let mut peer = Peer::parse("shell=sh --shards 1 {port}").unwrap();
        peer.set_option("shards", "2");
        peer.set_option("spin-us", "0");
        peer.set_environment("A", "b");
        assert_eq!(
            peer.command(),
            "env A=b sh --shards 2 {port} --spin-us 0".to_owned()
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let error = Peer::coremap("baseline", Path::new("/not/there")).unwrap_err();
        assert_eq!(error, "/not/there is not there");
        assert!(Peer::adapter("oracle").unwrap_err().contains("oracle"));
    }
}
