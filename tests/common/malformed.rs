//! Bytes that are not a request, or only just: what Redis answers, and whether it hangs up.

use super::client::{Client, shown};
use super::process::Server;

/// An input and everything the server sends for it. After an error that ends the connection
/// nothing more is answered; else the PING that follows is.
pub(crate) struct Case {
    pub(crate) input: Vec<u8>,
    pub(crate) output: &'static str,
    pub(crate) is_closed: bool,
}

/// Inputs that end the connection, with the error after `-ERR Protocol error: `.
const FATAL: &[(&[u8], &str)] = &[
    (b"*abc\r\n", "invalid multibulk length"),
    (b"*99999999999999999999\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*1 \r\n", "invalid multibulk length"),
    (b"*\r\n", "invalid multibulk length"),
    (b"*+1\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*2\r\n:3\r\n", "expected '$', got ':'"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b"*2\r\n$3\r\nGET\r\n*1\r\n", "expected '$', got '*'"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$abc\r\n", "invalid bulk length"),
    (b"*1\r\n$\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
    (b"GET \"k\r\n", "unbalanced quotes in request"),
    (b"GET 'k\r\n", "unbalanced quotes in request"),
    (b"GET \"k\"x\r\n", "unbalanced quotes in request"),
    (b"GET 'k'x\r\n", "unbalanced quotes in request"),
];

/// Inputs that the connection survives.
const HARMLESS: &[(&[u8], &str)] = &[
    (b"\r\n", ""),
    (b"\n", ""),
    (b"   \r\n", ""),
    (b"\r\n\r\n\n", ""),
    (b"*0\r\n", ""),
    (b"*-1\r\n", ""),
    (b"*-7\r\n", ""),
    (b"PING\n", "+PONG\\r\\n"),
    (b"ping\r\n", "+PONG\\r\\n"),
    (b"  PING  \r\n", "+PONG\\r\\n"),
    (b"ECHO \"a\\x41\\n\\\"b\"\r\n", "$5\\r\\naA\\n\"b\\r\\n"),
    (b"ECHO 'a\\'b\\x41'\r\n", "$7\\r\\na'b\\\\x41\\r\\n"),
    (b"ECHO \"\"\r\n", "$0\\r\\n\\r\\n"),
    (b"ECHO \"\\xzz\\q\"\r\n", "$4\\r\\nxzzq\\r\\n"),
    (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "$0\\r\\n\\r\\n"),
    (
        b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\0\xff\r\n",
        "$4\\r\\n\\r\\n\\x00\\xff\\r\\n",
    ),
    (
        b"*1\r\n$0\r\n\r\n",
        "-ERR unknown command '', with args beginning with: \\r\\n",
    ),
    (
        b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
        "+PONG\\r\\n+PONG\\r\\n+PONG\\r\\n",
    ),
];

/// Every case of the tables.
pub(crate) fn cases() -> Vec<Case> {
    let harmless = HARMLESS.iter().map(|(input, output)| Case {
        input: input.to_vec(),
        output,
        is_closed: false,
    });
    let fatal = FATAL.iter().map(|(input, output)| Case {
        input: input.to_vec(),
        output,
        is_closed: true,
    });
    // Lines that never end: 64 KiB and one byte without a line feed.
    let endless = [
        (b"".as_slice(), "too big inline request"),
        (b"*".as_slice(), "too big mbulk count string"),
        (b"*1\r\n$".as_slice(), "too big bulk count string"),
    ];
    let endless = endless.iter().map(|(start, output)| Case {
        input: [start, vec![b'1'; 64 * 1024 + 1].as_slice()].concat(),
        output,
        is_closed: true,
    });
    harmless.chain(fatal).chain(endless).collect()
}

impl Case {
    /// What comes back when the input stands between two PINGs.
    pub(crate) fn expected(&self) -> String {
        if self.is_closed {
            format!("+PONG\\r\\n-ERR Protocol error: {}\\r\\n", self.output)
        } else {
            format!("+PONG\\r\\n{}+PONG\\r\\n", self.output)
        }
    }

    /// What to send: the input between two PINGs, but nothing after a line that never ends.
    pub(crate) fn stream(&self) -> Vec<u8> {
        let is_endless = self.is_closed && !self.input.ends_with(b"\n");
        let after: &[u8] = if is_endless { b"" } else { b"PING\r\n" };
        [b"PING\r\n", self.input.as_slice(), after].concat()
    }

    /// Reads all that the server sends for the stream, up to the close if there must be one.
    pub(crate) fn received(&self, client: &mut Client) -> String {
        if !self.is_closed {
            client.finish_sending();
        }
        shown(&client.rest())
    }
}

/// Sends every case whole and fails with every difference.
pub(crate) fn check(server: &Server) {
    let mut found = Vec::new();
    for case in cases() {
        let mut client = server.client();
        // A server that has hung up already may refuse the rest.
        let _ = client.try_send(&case.stream());
        let received = case.received(&mut client);
        if received != case.expected() {
            let input = shown(&case.input[..case.input.len().min(60)]);
            found.push(format!(
                "{input}\n  expected {}\n  received {received}",
                case.expected()
            ));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
