//! All keys of a server, a page at a time: what SCAN finds.

use std::io::Write;
use std::time::Duration;

use super::format::Form;
use super::pace::pause;
use super::session::Session;
use super::words::append_quoted;
use super::{Outcome, unexpected};
use crate::cli::client::Client;
use crate::cli::reply::Reply;
use crate::error::Error;

/// Which keys, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection<'a> {
    pub(super) pattern: Option<&'a [u8]>,
    /// Keys looked at per page, about.
    pub(super) count: u64,
    /// Between pages.
    pub(super) pause: Duration,
}

/// A walk over the keys.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    selection: Selection<'a>,
    /// `None` when the walk is over.
    cursor: Option<Vec<u8>>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(selection: Selection<'a>) -> Self {
        Self {
            selection,
            cursor: Some(b"0".to_vec()),
        }
    }

    /// The keys of the next page, which may be none; `None` when all have been seen.
    pub(super) fn next(&mut self, client: &mut Client) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        let count = self.selection.count.to_string();
        let mut words = vec![&b"SCAN"[..], &cursor];
        if let Some(pattern) = self.selection.pattern {
            words.extend([b"MATCH", pattern]);
        }
        words.extend([&b"COUNT"[..], count.as_bytes()]);
        let reply = client.ask(&words)?;
        let [next, keys] = reply.elements() else {
            return Err(unexpected("SCAN"));
        };
        let next = next.text().ok_or_else(|| unexpected("SCAN"))?;
        self.cursor = (next != b"0").then(|| next.to_vec());
        let keys = keys.elements().iter();
        let keys = keys.filter_map(Reply::text).map(<[u8]>::to_vec).collect();
        Ok(Some(keys))
    }
}

/// Shows the keys, one a line.
pub(super) fn list(
    session: &mut Session<'_>,
    selection: Selection<'_>,
    output: &mut impl Write,
) -> Outcome {
    let is_quoted = session.style().form == Form::Standard;
    let client = session.client()?;
    let mut pages = Pages::new(selection);
    while let Some(keys) = pages.next(client)? {
        for key in keys {
            let mut line = Vec::new();
            if is_quoted {
                append_quoted(&mut line, &key);
            } else {
                line = key;
            }
            line.push(b'\n');
            output.write_all(&line)?;
        }
        if !selection.pause.is_zero() {
            output.flush()?;
            pause(selection.pause);
        }
    }
    Ok(output.flush()?)
}
