//! The Redis serialization protocol: requests in, replies out, as plain functions over bytes.
//!
//! ```text
//! request  = "*" count CRLF argument{count}     what every client library sends
//!          | line LF                            an inline command: words, quotes, escapes
//! argument = "$" len CRLF byte{len} CRLF
//! count    = decimal, no sign, no leading zero; zero and negatives are a request of nothing
//! ```
//!
//! A request is parsed where it was received: an argument is a [`Span`] of the input, never a copy.
//! A reply is appended to the connection's output; a value too large to copy is left out and noted
//! as an [`Extern`], for whoever sends the output to fill in.
//!
//! RESP2 and RESP3 differ in replies only; clients of both send the same requests.
//!
//! Not here: which command the arguments name (`command`), buffers and their growth (`lane`).

mod head;
mod parse;
mod reply;
mod request;

pub use head::Head;
pub use parse::{Limits, Parser, ProtocolError, Step};
pub use reply::{DIGITS_MAX, Extern, Protocol, Reply, format_integer};
pub use request::{Args, Span};
