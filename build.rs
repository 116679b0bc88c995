//! Tells the program how it is built, for `coremap --version`: the commit, the profile, the compiler,
//! and the CPU features that the compiler may use.
//!
//! The commit is `COREMAP_COMMIT` if that is set, as where there are only sources; else for release
//! builds the repository's, if this folder is the root of one. Builds for tests do not ask: a commit
//! would compile everything anew. Paths and times never enter, so equal sources give equal programs.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=COREMAP_COMMIT");
    let given = env::var("COREMAP_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| match variable("PROFILE").as_str() {
        "release" => commit(),
        _ => None,
    });
    tell("COMMIT", commit.as_deref().unwrap_or("commit unknown"));
    tell(
        "COMPILER",
        &output(&variable("RUSTC"), &["--version"]).unwrap_or_default(),
    );
    tell("TARGET", &variable("TARGET"));
    tell(
        "PROFILE",
        &format!(
            "{}, opt-level {}",
            variable("PROFILE"),
            variable("OPT_LEVEL")
        ),
    );
    tell("FLAGS", &flags());
    tell(
        "CPU_FEATURES",
        &variable("CARGO_CFG_TARGET_FEATURE").replace(',', " "),
    );
}

fn tell(name: &str, value: &str) {
    println!("cargo::rustc-env=COREMAP_BUILD_{name}={value}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The commit of the repository whose root this folder is, and whether its files differ from it.
fn commit() -> Option<String> {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR"))
        .canonicalize()
        .ok()?;
    let git = |arguments: &[&str]| output("git", arguments);
    // An archive of the sources may lie within another repository.
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?)
        .canonicalize()
        .ok()?
        != root
    {
        return None;
    }
    for path in ["logs/HEAD", "index"] {
        println!(
            "cargo::rerun-if-changed={}",
            git(&["rev-parse", "--git-path", path])?
        );
    }
    println!("cargo::rerun-if-changed=src");
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(match changes.as_str() {
        "" => commit,
        _ => commit + ", with changes",
    })
}

/// The flags for the compiler besides the profile's, without those that name paths of this machine.
fn flags() -> String {
    let all = variable("CARGO_ENCODED_RUSTFLAGS");
    let told = all
        .split('\x1f')
        .filter(|flag| !flag.starts_with("--remap-path-prefix"));
    told.collect::<Vec<_>>().join(" ")
}

/// What a program says, if it can be run and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
