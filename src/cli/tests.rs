//! Command lines and what becomes of them.

use super::*;
use crate::config::SETTINGS;

fn parse_words(line: &str) -> Result<Request, Error> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words)
}

fn config(line: &str) -> Config {
    match parse_words(line) {
        Ok(Request::Serve { config, .. }) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    let error = parse_words(line).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error.to_string()
}

#[test]
fn options_are_accepted_in_every_form_that_redis_users_type() {
    for line in [
        "--port 7000",
        "--port=7000",
        "serve --port 7000",
        "serve --PORT=7000",
    ] {
        assert_eq!(config(line).settings.port, 7000, "{line}");
    }
    let config = config("--bind 127.0.0.1 -::1 --save --appendonly no --shards 2");
    assert_eq!(config.settings.bind.len(), 2);
    assert_eq!(config.settings.shards, 2);
    assert!(config.log);
}

#[test]
fn nothing_at_all_is_serve_with_the_defaults() {
    assert_eq!(
        config(""),
        Config {
            log: true,
            ..Config::default()
        }
    );
}

#[test]
fn bad_usage_is_one_line_that_names_what_is_wrong() {
    for (line, message) in [
        (
            "--prot 7000",
            "unknown option '--prot', did you mean '--port'?",
        ),
        ("--port", "--port: needs a value"),
        (
            "--port many",
            "--port: 'many' is not a number from 0 to 65535",
        ),
        ("-p 7000", "unknown option '-p'"),
        ("frobnicate", "'frobnicate' is neither a file nor a command"),
        ("--dir", "--dir: needs a value"),
        (
            "--appendfsync sometimes",
            "--appendfsync: 'sometimes' is none of: always, everysec, no",
        ),
        ("--config", "--config: needs a file"),
        ("serve a.conf b.conf", "Unrecognized argument"),
        ("--quux a", "unknown option '--quux'"),
    ] {
        let refused = refusal(line);
        assert!(refused.starts_with(message), "{line}: {refused}");
    }
}

#[test]
fn help_shows_every_setting_with_its_default() {
    let Ok(Request::Print(text)) = parse_words("serve --help") else {
        panic!("no help")
    };
    for setting in SETTINGS.iter().filter(|setting| setting.group.is_some()) {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("  --{} ", setting.name)));
        let line = line.expect(setting.name);
        assert!(line.contains(setting.help), "{line}");
        let default = format!(" [{}]", setting.default_text());
        assert!(line.ends_with(&default) && default != " []", "{line}");
    }
}

#[test]
fn print_config_shows_what_would_be_in_force() {
    let Ok(Request::Print(text)) = parse_words("--print-config --port 7000") else {
        panic!("not printed")
    };
    assert!(
        text.contains("port 7000\n") && text.contains("maxclients 10000\n"),
        "{text}"
    );
}
