//! The repository's own lint: what the compiler cannot say about this tree, said as tests.
//!
//! Goal: layering, the unsafe fence, file lengths, units in names and the promises of the
//! documents stay true without a reviewer's memory. Method: every source is read once and
//! reduced to its code (strings and comments blanked, test modules cut: `source.rs`); each test
//! walks those lines with a table that stands at the top of this file. A failure lists every
//! offending place as `path:line: what`.
//!
//! Not here: what rustfmt, clippy and rustdoc already check (Cargo.toml, clippy.toml).

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Source, documents, root, sources, tokens};

/// Which modules of `src/` a module may name. Arrows point downwards only: what a row may import
/// stands above it, so there is no cycle. A new module needs a row.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("running", &[]),
    ("error", &["limits"]),
    ("atomic", &[]),
    ("sys", &["error", "limits"]),
    ("hash", &["limits"]),
    ("json", &[]),
    ("epoch", &["atomic", "limits"]),
    ("region", &["sys", "atomic", "epoch", "error", "limits"]),
    (
        "shard",
        &["region", "hash", "atomic", "epoch", "error", "limits"],
    ),
    ("resp", &["limits"]),
    ("rdb", &["limits"]),
    ("metrics", &["shard", "limits"]),
    (
        "command",
        &[
            "resp", "rdb", "shard", "region", "metrics", "hash", "atomic", "limits",
        ],
    ),
    (
        "lane",
        &[
            "command", "resp", "shard", "region", "metrics", "hash", "atomic", "epoch", "running",
            "limits",
        ],
    ),
    ("config", &["command", "sys", "error", "limits"]),
    (
        "server",
        &[
            "config", "lane", "command", "resp", "shard", "region", "metrics", "hash", "atomic",
            "epoch", "running", "sys", "json", "error", "limits",
        ],
    ),
    (
        "cli",
        &[
            "server", "config", "rdb", "shard", "region", "hash", "sys", "json", "error", "limits",
        ],
    ),
];

/// The files that may hold unsafe code. Each opens with `#![expect(unsafe_code, reason = ..)]`.
const UNSAFE_FENCE: &[&str] = &[
    "bench/src/allocations.rs",
    "examples/common/mod.rs",
    "src/atomic.rs",
    "src/atomic/modelled.rs",
    "src/command/plan/transfer.rs",
    "src/lane/batch.rs",
    "src/lane/buffer.rs",
    "src/lane/fragment.rs",
    "src/lane/ring.rs",
    "src/region/mod.rs",
    "src/region/uses.rs",
    "src/server/crash.rs",
    "src/server/probe.rs",
    "src/server/readiness.rs",
    "src/server/signals.rs",
    "src/server/socket.rs",
    "src/shard/large.rs",
    "src/shard/large/reference.rs",
    "src/shard/log.rs",
    "src/shard/reader.rs",
    "src/shard/record.rs",
    "src/shard/recover/replay.rs",
    "src/shard/recover/resplit.rs",
    "src/shard/recover/survey.rs",
    "src/shard/recover/walk.rs",
    "src/shard/slot.rs",
    "src/shard/table.rs",
    "src/shard/table/view.rs",
    "src/sys.rs",
    "tests/allocations.rs",
    "tests/systemd.rs",
];

/// Code lines of one file, its tests not counted: one sitting.
const CODE_LINE_COUNT_MAX: usize = 500;
/// Direct dependencies of the server.
const DEPENDENCY_COUNT_MAX: usize = 12;
/// File names that say nothing about what is inside.
const NAMES_THAT_SAY_NOTHING: &[&str] = &["utils", "util", "helpers", "common", "types", "misc"];
/// Words that mean the work is not finished.
const UNFINISHED: &[&str] = &[
    "todo!",
    "unimplemented!",
    "dbg!",
    "FIXME",
    "TODO",
    "#[ignore",
];
/// Endings that leave open what is counted: bytes or slots, milliseconds or seconds.
const ENDINGS_WITHOUT_UNIT: &[&str] = &["_time", "_timeout", "_size", "_interval", "_length"];
/// The first integer literal that wants a name.
const LITERAL_THAT_WANTS_A_NAME: u128 = 1024;
/// Parts of a second: where they stand, a unit is converted into another.
const UNIT_FACTORS: &[u128] = &[1_000_000, 1_000_000_000];

#[test]
fn modules_import_only_what_lies_below_them() {
    let mut found = Vec::new();
    for source in in_src() {
        let Some(layer) = source.layer() else {
            continue;
        };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            found.push(format!(
                "{}:1: module `{layer}` has no row in LAYERS",
                source.path
            ));
            continue;
        };
        for (line, target) in source.imports() {
            if target != layer && is_module(&target) && !allowed.contains(&target.as_str()) {
                found.push(format!(
                    "{}:{line}: `{layer}` may not import `{target}`",
                    source.path
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn the_layering_table_has_no_cycle() {
    let mut above = BTreeSet::new();
    for (name, allowed) in LAYERS {
        for target in *allowed {
            assert!(
                above.contains(target),
                "`{name}` imports `{target}`, whose row comes later"
            );
        }
        assert!(above.insert(*name), "`{name}` has two rows");
    }
}

#[test]
fn only_the_server_is_async_or_knows_the_runtime() {
    find_words(&["async", "await", "glommio"], |path| {
        path.starts_with("src/") && !path.starts_with("src/server/")
    });
}

#[test]
fn unsafe_code_stays_inside_the_fence() {
    let mut found = Vec::new();
    for source in sources() {
        let is_fenced = UNSAFE_FENCE.contains(&source.path.as_str());
        let first = source.lines_with_word("unsafe").next();
        let lifted = source
            .text
            .split("#![expect(")
            .skip(1)
            .map(|rest| rest.split(")]").next());
        let opens = lifted
            .flatten()
            .any(|lints| lints.contains("unsafe_code") && lints.contains("reason"));
        match (is_fenced, first, opens) {
            (true, Some(_), false) => {
                found.push(format!(
                    "{}:1: does not open with #![expect(unsafe_code, ..)]",
                    source.path
                ));
            }
            (true, None, _) => found.push(format!("{}:1: needs no fence any more", source.path)),
            (false, Some(line), _) => {
                found.push(format!("{}:{line}: unsafe outside the fence", source.path));
            }
            _ => {}
        }
    }
    report(&found);
}

#[test]
fn files_begin_with_what_they_are_and_fit_one_sitting() {
    let mut found = Vec::new();
    for source in sources() {
        if !source.is_for_tests && !source.text.starts_with("//! ") {
            found.push(format!("{}:1: does not begin with `//! `", source.path));
        }
        let code_line_count = source.code_line_count();
        if code_line_count > CODE_LINE_COUNT_MAX {
            found.push(format!("{}:1: {code_line_count} code lines", source.path));
        }
    }
    report(&found);
}

#[test]
fn files_are_named_after_what_they_hold() {
    let mut found = Vec::new();
    for source in in_src() {
        for part in source.path.trim_end_matches(".rs").split('/') {
            if NAMES_THAT_SAY_NOTHING.contains(&part) {
                found.push(format!("{}:1: `{part}` says nothing", source.path));
            }
        }
    }
    report(&found);
}

#[test]
fn nothing_unfinished_is_left_in_the_sources() {
    let mut found = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !source.path.starts_with("tests/tidy"))
    {
        for (index, line) in source.text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{}: {word}", source.path, index + 1));
            }
        }
    }
    report(&found);
}

#[test]
fn sources_are_ascii_but_for_the_lines_of_diagrams() {
    let is_plain = |c: char| {
        c.is_ascii() || ('\u{2500}'..='\u{25ff}').contains(&c) || "\u{2026}\u{b7}\u{d7}".contains(c)
    };
    let mut found = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(other) = line.chars().find(|c| !is_plain(*c)) {
                found.push(format!("{}:{}: `{other}`", source.path, index + 1));
            }
        }
    }
    report(&found);
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    let mut found = Vec::new();
    for source in sources() {
        for line in source.lines_with_path("thread::sleep", source.path.starts_with("tests/")) {
            found.push(format!("{}:{line}: sleeps", source.path));
        }
    }
    report(&found);
}

#[test]
fn tests_are_named_as_sentences() {
    let mut found = Vec::new();
    for source in sources() {
        for (line, name) in source.test_names() {
            if name.starts_with("test_") || name.ends_with(|c: char| c.is_ascii_digit()) {
                found.push(format!(
                    "{}:{line}: `{name}` is not a sentence",
                    source.path
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn large_numbers_have_names() {
    let mut found = Vec::new();
    for source in in_src().filter(|source| source.path != "src/limits.rs") {
        for (line, value) in source.decimal_literals_outside_consts() {
            if value >= LITERAL_THAT_WANTS_A_NAME && !UNIT_FACTORS.contains(&value) {
                found.push(format!(
                    "{}:{line}: {value} wants a named constant",
                    source.path
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn integer_names_carry_their_units() {
    let mut found = Vec::new();
    for source in in_src() {
        for (line, name) in source.integer_names() {
            let name = name.to_ascii_lowercase();
            if ENDINGS_WITHOUT_UNIT
                .iter()
                .any(|ending| name.ends_with(ending))
            {
                found.push(format!("{}:{line}: `{name}` has no unit", source.path));
            }
        }
    }
    report(&found);
}

#[test]
fn every_dependency_is_counted_and_argued() {
    let mut found = Vec::new();
    for manifest in [
        "Cargo.toml",
        "bench/Cargo.toml",
        "tests/clients/rust/Cargo.toml",
    ] {
        let Ok(text) = std::fs::read_to_string(root().join(manifest)) else {
            continue;
        };
        let mut section = "";
        let mut count = 0;
        for (index, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
            } else if section.ends_with("dependencies") && !line.starts_with('#') {
                count += usize::from(section == "dependencies");
                if !line.contains(" # ") {
                    found.push(format!("{manifest}:{}: no reason given", index + 1));
                }
            }
        }
        if count > DEPENDENCY_COUNT_MAX {
            found.push(format!("{manifest}:1: {count} direct dependencies"));
        }
    }
    report(&found);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    for document in documents() {
        let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
        for (line, target) in document.links() {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() {
                document.path.clone().into()
            } else {
                folder.join(file)
            };
            let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
                if !root().join(&path).exists() {
                    found.push(format!("{}:{line}: {target} is not there", document.path));
                }
                continue;
            };
            if !anchor.is_empty() && !source::anchors(&text).contains(anchor) {
                found.push(format!(
                    "{}:{line}: {target}: no such heading",
                    document.path
                ));
            }
        }
    }
    report(&found);
}

#[test]
fn nothing_names_a_path_of_the_machine_it_was_written_on() {
    let here = format!("{}/", root().display());
    let home = std::env::var("HOME").ok().filter(|home| home.len() > 1);
    let mut found = Vec::new();
    for file in sources().iter().chain(documents()) {
        for (index, line) in file.text.lines().enumerate() {
            let names_home = home
                .as_ref()
                .is_some_and(|home| line.contains(&format!("{home}/")));
            if line.contains(&here) || names_home {
                found.push(format!("{}:{}: names a local path", file.path, index + 1));
            }
        }
    }
    report(&found);
}

/// Fails with every line of `found`, if there is one.
fn report(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The sources of the library and the server.
fn in_src() -> impl Iterator<Item = &'static Source> {
    sources()
        .iter()
        .filter(|source| source.path.starts_with("src/"))
}

/// Whether `src/` has a module of this name.
fn is_module(name: &str) -> bool {
    in_src().any(|source| source.layer().is_some_and(|layer| layer == name))
}

/// Fails where one of `words` is code in a file that `applies`.
fn find_words(words: &[&str], applies: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| applies(&source.path)) {
        for word in words {
            for line in source.lines_with_word(word) {
                found.push(format!("{}:{line}: `{word}`", source.path));
            }
        }
    }
    report(&found);
}

#[test]
fn the_reduction_to_code_blanks_strings_comments_and_test_modules() {
    let text = "fn a() {\n    b(\"unsafe // x\"); /* unsafe */ let c = 'u'; // unsafe\n}\n\
                #[cfg(all(test, not(loom)))]\nmod tests {\n    fn d() { unsafe {} }\n}\nfn e<'u>() {}\n";
    let source = Source::new("src/x.rs".to_owned(), text.to_owned());
    assert_eq!(source.lines_with_word("unsafe").count(), 0);
    assert_eq!(source.code_line_count(), 4);
    assert_eq!(
        tokens(&source.code)
            .filter(|(_, token)| token == &"e")
            .count(),
        1
    );
}

#[test]
fn imports_are_found_in_paths_groups_and_parents() {
    let text = "use crate::{hash::KeyHash, limits};\nuse super::super::resp::Args;\n\
                fn a() -> crate::region::Region { super::inside() }\n";
    let source = Source::new("src/shard/log.rs".to_owned(), text.to_owned());
    let names: Vec<String> = source.imports().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["hash", "limits", "resp", "region"]);
}

#[test]
fn literals_in_constants_are_named_and_others_are_found() {
    let text = "const A: [Option<&'static u32>; 2] = [\n    Some(&4096),\n    8192,\n];\nconst fn b() -> u32 { 2048 }\n\
                fn c() -> f64 { 1024.5 + f64::from(d.0) + f64::from(0xffff_u16) + 1_000_000u32 }\n";
    let source = Source::new("src/x.rs".to_owned(), text.to_owned());
    let found: Vec<_> = source.decimal_literals_outside_consts();
    assert_eq!(found, [(5, 2048), (6, 0), (6, 1_000_000)]);
}
