//! A server that answers from a table, for replies that no server here sends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Serves as many connections as there are, one after the other, for as long as the test runs; its
/// port. Every command is given to `answer`, whose bytes are the reply.
pub(crate) fn serve(answer: fn(&[String]) -> Vec<u8>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("the listener lives");
            // A client may leave whenever it likes.
            let _ = converse(stream, answer);
        }
    });
    port
}

fn converse(mut stream: TcpStream, answer: fn(&[String]) -> Vec<u8>) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            continue;
        }
        let count: usize = line[1..].trim().parse().expect("an array of strings");
        let mut words = Vec::new();
        for _ in 0..count {
            let mut line = String::new();
            input.read_line(&mut line)?;
            let len: usize = line[1..].trim().parse().expect("a string");
            let mut word = vec![0; len + 2];
            input.read_exact(&mut word)?;
            words.push(String::from_utf8_lossy(&word[..len]).into_owned());
        }
        stream.write_all(&answer(&words))?;
    }
}
