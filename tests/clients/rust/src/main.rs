//! The crates `redis` and `fred` against servers. Arguments: which of the two, the port and the unix
//! socket of a server, and the port of one whose password is `secret`. Ends with a panic at the
//! first thing that is not as it should be.

mod with_fred;
mod with_redis;

/// Where the servers are.
struct Servers {
    port: u16,
    socket: String,
    /// Of the server that has a password.
    secret_port: u16,
}

/// Commands of one pipeline.
const PIPELINE_LEN: i64 = 5_000;

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, port, socket, secret_port] = &arguments[..] else {
        panic!("wanted: redis|fred PORT SOCKET SECRET-PORT");
    };
    let servers = Servers {
        port: port.parse().expect("a port is a number"),
        socket: socket.clone(),
        secret_port: secret_port.parse().expect("a port is a number"),
    };
    match name.as_str() {
        "redis" => with_redis::run(&servers).await.expect("redis works"),
        "fred" => with_fred::run(&servers).await.expect("fred works"),
        other => panic!("no library is called {other}"),
    }
}
