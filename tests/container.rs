//! The container files: the server runs under the seccomp profile that is shipped, and asks for nothing that
//! it forbids.
//!
//! Goal: who starts the server under `deploy/container/seccomp.json` has all of it. Method: a small program
//! loads the profile as a container's runtime would (in the kernel's own language: one comparison per
//! call) and becomes the server, which then gets work of every kind.

mod common;

use std::path::Path;
use std::process::Command;

use common::client::request;
use common::process::{Folder, Server, coremap};
use common::skip_because;

/// Allows the calls that the profile names; all others fail as the profile says.
const UNDER_PROFILE: &str = r#"
import ctypes, json, os, re, struct, sys
profile = json.load(open(sys.argv[1]))
assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
header = open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read()
numbers = {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", header)}
allowed = [name for rule in profile["syscalls"] for name in rule["names"]]
assert len(set(allowed)) == len(allowed), "a call is named twice"
assert all(rule["action"] == "SCMP_ACT_ALLOW" for rule in profile["syscalls"])
# load the call's number; for each: if it is this one, allow; at the end: the error
code = [(0x20, 0, 0, 0)]
for name in allowed:
    if name in numbers:
        code += [(0x15, 0, 1, numbers[name]), (0x06, 0, 0, 0x7fff0000)]
code.append((0x06, 0, 0, 0x00050000 | profile["defaultErrnoRet"]))
filter = b"".join(struct.pack("HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(filter)
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0
# what only the report of a crash calls
assert libc.alarm(0) == 0, "alarm is forbidden"
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn the_server_does_everything_under_the_profile_that_is_shipped() {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    if !has_python || !Path::new("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").exists() {
        skip_because("python3 or the kernel's headers are not installed");
        return;
    }
    let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/container/seccomp.json");
    let (data, copy) = (Folder::new(), Folder::new());
    let text = |path: &Path| path.to_str().expect("it is text").to_owned();
    let (dir, program) = (text(data.path()), text(&coremap()));
    let unixsocket = text(&data.path().join("coremap.sock"));
    let arguments = [
        "-c",
        UNDER_PROFILE,
        profile,
        &program,
        "--shards",
        "2",
        "--dir",
        &dir,
        "--unixsocket",
        &unixsocket,
        "--maxmemory",
        "256mb",
    ];
    for _ in 0..2 {
        let server = Server::start_program(Path::new("python3"), &arguments);
        server.wait_until_loaded();
        let mut client = server.client();
        for key in 0..1_000 {
            client.send(&request(&["SET", &format!("key:{key}"), &"v".repeat(key)]));
            client.expect_bytes(b"+OK\r\n");
        }
        client.send(&request(&[&b"SET"[..], b"large", &[b'v'; 20 << 20]]));
        client.expect_bytes(b"+OK\r\n");
        client.expect("CONFIG SET appendfsync always maxmemory 128mb", "+OK\\r\\n");
        client.expect("DEL large", ":1\\r\\n");
        client.expect("SAVE", "+OK\\r\\n");
        client.expect("DBSIZE", ":1000\\r\\n");
        let port = server.port.to_string();
        let target = text(&copy.path().join(&port));
        let backup = common::process::run(&["backup", "-p", &port, &target]);
        assert_eq!(backup.code, Some(0), "{}", backup.said);
        server.signal("TERM");
        let (status, said) = server.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("not permitted"), "{said}");
    }
}
