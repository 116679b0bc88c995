//! `coremap backup`: a consistent copy of a running server's data, from which a server starts.
//!
//! The server only promises not to use anything again that is in its file, for as long as this
//! connection lives; the copying is done here, from file to file (`region::backup`). The steps before it:
//! the promise, a command that every shard has to run and so has seen the promise before, and two
//! rounds of writing to disk.

use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};

use super::client::{Client, Target};
use super::progress::Progress;
use crate::error::Error;
use crate::region::Original;

/// Bytes copied between two looks whether the server keeps its promise: whether the connection lives.
const ASK_LEN_BYTES: u64 = 64 << 20;

/// Copy the data of a running server on this host into a directory, from which another server can
/// start. What was written before is in the copy; writing goes on meanwhile.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
pub(super) struct Backup {
    /// directory for the copy; made if it is not there
    #[argh(positional)]
    directory: PathBuf,
    /// host of the server (127.0.0.1)
    #[argh(option, short = 'h', default = "String::from(\"127.0.0.1\")")]
    host: String,
    /// port of the server (6379)
    #[argh(option, short = 'p', default = "6379")]
    port: u16,
    /// unix socket of the server, instead of host and port
    #[argh(option, short = 's')]
    unixsocket: Option<String>,
    /// password; otherwise that in the environment's REDISCLI_AUTH
    #[argh(option, short = 'a')]
    pass: Option<String>,
}

impl Backup {
    /// Copies, and says how much.
    ///
    /// # Errors
    /// The server cannot be reached or has no file, its directory is not on this host, or the copy
    /// cannot be written.
    pub(super) fn run(&self) -> Result<(), Error> {
        let mut client = self.target().connect()?;
        let source = source_of(&mut client)?;
        client.ask(&[b"HOLDFILE"])?;
        client.ask(&[b"DBSIZE"])?;
        client.ask(&[b"SAVE"])?;
        client.ask(&[b"SAVE"])?;
        let original = Original::read(&source)?;
        let mut progress = Progress::new("copying", original.len_bytes());
        let mut asked_at = 0;
        let draft = original.copy_to(&self.directory, |copied_bytes| {
            progress.show(copied_bytes);
            if copied_bytes - asked_at >= ASK_LEN_BYTES {
                asked_at = copied_bytes;
                client.ask(&[b"PING"])?;
            }
            Ok(())
        })?;
        drop(progress);
        if let Err(error) = client.ask(&[b"PING"]) {
            draft.discard();
            return Err(error);
        }
        drop(client);
        draft.finish()?;
        println!(
            "copied   {} bytes of {}",
            original.len_bytes(),
            original.path().display()
        );
        Ok(())
    }

    fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            unixsocket: self.unixsocket.as_deref(),
            user: None,
            pass: self.pass.as_deref(),
        }
    }
}

/// The directory of a server.
fn source_of(client: &mut Client) -> Result<PathBuf, Error> {
    let reply = client.ask(&[b"CONFIG", b"GET", b"dir"])?;
    let pairs = reply.pairs();
    let dir = pairs.first().and_then(|(_, dir)| dir.text());
    let dir = String::from_utf8_lossy(dir.unwrap_or_default()).into_owned();
    match Path::new(&dir) {
        path if path.is_absolute() => Ok(path.to_owned()),
        path if path.as_os_str().is_empty() => Err(Error::Failed(
            "the server keeps its data in memory only: there is nothing to copy".to_owned(),
        )),
        path => Err(Error::Failed(format!(
            "the server's dir is {}, seen from where it was started: start it with an absolute one",
            path.display()
        ))),
    }
}
