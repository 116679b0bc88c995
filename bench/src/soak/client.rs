//! One connection of the jobs beside the load: asks, and reads the reply as text.
//!
//! Not for measuring: it waits for every reply, and gives up on a server that says nothing for long.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that is silent for so long is taken for hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(super) fn connect(address: &str) -> Result<Self, String> {
        let connect = || {
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(BufReader::new(socket))
        };
        let reader = connect().map_err(|error: std::io::Error| format!("{address}: {error}"))?;
        Ok(Self { reader })
    }

    /// Sends bytes as they are.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self.reader.get_mut().write_all(bytes);
        sent.map_err(|error| format!("cannot send: {error}"))
    }

    /// Sends a command; the text of its reply, that of an array with a line for each item.
    ///
    /// # Errors
    /// The connection fails, or the reply is an error: then that.
    pub(super) fn ask(&mut self, words: &[&str]) -> Result<String, String> {
        self.send(&command(words))?;
        self.reply()
    }

    /// Reads the next reply.
    pub(super) fn reply(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        read.map_err(|error| format!("cannot receive: {error}"))?;
        let line = line.trim_end();
        let (kind, rest) = line
            .split_at_checked(1)
            .ok_or("the server closed the connection")?;
        let count = || {
            rest.parse::<i64>()
                .map_err(|_| format!("a reply is {line}"))
        };
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "-" => Err(format!("the server answered {rest}")),
            "$" => match usize::try_from(count()?) {
                Ok(len_bytes) => self.bulk(len_bytes),
                Err(_) => Ok(String::new()), // a null
            },
            "*" => {
                let items: Result<Vec<_>, _> = (0..count()?).map(|_| self.reply()).collect();
                Ok(items?.join("\n"))
            }
            _ => Err(format!("a reply is {line}")),
        }
    }

    /// Waits until something arrives; whether it is the end of the connection.
    pub(super) fn is_closed(&mut self) -> bool {
        match self.reader.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn bulk(&mut self, len_bytes: usize) -> Result<String, String> {
        let mut bytes = vec![0; len_bytes + b"\r\n".len()];
        let read = self.reader.read_exact(&mut bytes);
        read.map_err(|error| format!("cannot receive: {error}"))?;
        bytes.truncate(len_bytes);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A command as it is sent.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let head = format!("*{}\r\n", words.len());
    let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    let body: String = words.iter().map(word).collect();
    (head + &body).into_bytes()
}

/// A number of the text that INFO answers.
pub(super) fn field(info: &str, name: &str) -> Result<u64, String> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok();
    let found = info.lines().find_map(value);
    found.ok_or_else(|| format!("INFO tells no {name}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A client, and a server that answers whatever it is asked with these bytes and closes.
    fn answered(reply: &'static [u8]) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(reply).unwrap());
        Client::connect(&address).unwrap()
    }

    #[test]
    fn every_kind_of_reply_is_read_as_text() {
        let mut client =
            answered(b"+OK\r\n:7\r\n$3\r\na\nb\r\n$-1\r\n*2\r\n$1\r\nc\r\n:1\r\n-ERR no\r\n");
        for text in ["OK", "7", "a\nb", "", "c\n1"] {
            assert_eq!(client.reply(), Ok(text.to_owned()));
        }
        assert!(client.reply().unwrap_err().contains("ERR no"));
        assert!(client.is_closed());
        assert!(client.reply().unwrap_err().contains("closed"));
    }

    #[test]
    fn a_command_is_its_words_with_their_lengths() {
        assert_eq!(command(&["GET", "k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Memory\r\nused_memory_rss:9\r\nused_memory:5\r\n";
        assert_eq!(field(info, "used_memory"), Ok(5));
        assert!(field(info, "used").is_err());
    }
}
