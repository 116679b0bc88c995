//! Completion for bash, zsh and fish: commands, their options, and the values that are known.

use std::fmt::Write as _;

use super::{Opt, Tool, Values};

/// Every script, with its path: named as each shell looks for it.
pub(super) fn scripts(server: &Tool, tools: &[Tool]) -> Vec<(String, String)> {
    vec![
        ("completions/coremap.bash".to_owned(), bash(server, tools)),
        ("completions/_coremap".to_owned(), zsh(server, tools)),
        ("completions/coremap.fish".to_owned(), fish(server, tools)),
    ]
}

/// A summary's first sentence, without its full stop.
fn short(tool: &Tool) -> &str {
    let first = tool.summary.split(". ").next().unwrap_or_default();
    first.trim_end_matches('.')
}

fn names(tools: &[Tool]) -> String {
    let names: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
    names.join(" ")
}

fn dashed(options: &[Opt]) -> String {
    let all = options.iter().map(|option| format!("--{}", option.long));
    all.collect::<Vec<_>>().join(" ")
}

fn bash(server: &Tool, tools: &[Tool]) -> String {
    let mut text = String::from(
        "# Completion of coremap for bash.\n\
         _coremap() {\n    \
             local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} options values\n    \
             COMPREPLY=()\n    \
             case \"${COMP_WORDS[1]} $before\" in\n",
    );
    for tool in tools.iter().chain([server]) {
        // Options whose values nobody can know complete to nothing.
        let mut free = Vec::new();
        for option in &tool.options {
            let pattern = bash_pattern(tool, server, option);
            let generator = match option.values {
                _ if option.placeholder.is_none() => continue,
                Values::Words(words) => format!("-W \"{}\"", words.join(" ")),
                Values::Paths => "-f".to_owned(),
                Values::Any => {
                    free.push(pattern);
                    continue;
                }
            };
            let _ = writeln!(
                text,
                "        {pattern}) mapfile -t COMPREPLY < <(compgen {generator} -- \"$word\"); return ;;"
            );
        }
        if !free.is_empty() {
            let _ = writeln!(text, "        {}) return ;;", free.join(" | "));
        }
    }
    text += "    esac\n    case ${COMP_WORDS[1]} in\n";
    for tool in tools {
        let _ = writeln!(
            text,
            "        {}) options=\"{}\" ;;",
            tool.name,
            dashed(&tool.options)
        );
    }
    let _ = writeln!(
        text,
        "        *) options=\"{}\" ;;",
        dashed(&server.options)
    );
    let _ = write!(
        text,
        "    esac\n    \
             [ \"$COMP_CWORD\" = 1 ] && options=\"serve {} $options\"\n    \
             values=$(compgen -W \"$options\" -- \"$word\")\n    \
             case $word in\n        \
                 -*) ;;\n        \
                 *) values+=$'\\n'$(compgen -f -- \"$word\") ;;\n    \
             esac\n    \
             mapfile -t COMPREPLY < <(printf '%s' \"$values\" | sed '/^$/d')\n\
         }}\n\
         complete -o filenames -F _coremap coremap\n",
        names(tools)
    );
    text
}

/// What the command and the word before the cursor look like when a value of this option is due.
fn bash_pattern(tool: &Tool, server: &Tool, option: &Opt) -> String {
    if tool.name == server.name {
        // It needs no name in front of its options.
        return format!("*\" --{}\"", option.long);
    }
    let short = option.short.map(|short| format!("-{short}"));
    let words = [format!("--{}", option.long)].into_iter().chain(short);
    let patterns = words.map(|word| format!("\"{} {word}\"", tool.name));
    patterns.collect::<Vec<_>>().join(" | ")
}

fn zsh(server: &Tool, tools: &[Tool]) -> String {
    let mut text = String::from(
        "#compdef coremap\n# Completion of coremap for zsh.\n_coremap() {\n  \
           local -a commands\n  commands=(\n    'serve:Run the server'\n",
    );
    for tool in tools {
        let _ = writeln!(text, "    '{}:{}'", tool.name, single_quoted(short(tool)));
    }
    text += "  )\n  local command=$words[2]\n  if (( CURRENT == 2 )); then\n    \
             _describe command commands\n  fi\n  case $command in\n";
    for tool in tools {
        let _ = writeln!(
            text,
            "    {})\n      shift words; (( CURRENT-- ))",
            tool.name
        );
        zsh_arguments(&mut text, tool);
    }
    text += "    *)\n      [[ $command == serve ]] && { shift words; (( CURRENT-- )) }\n";
    zsh_arguments(&mut text, server);
    text += "  esac\n}\n_coremap \"$@\"\n";
    text
}

fn zsh_arguments(text: &mut String, tool: &Tool) {
    text.push_str("      _arguments");
    for option in &tool.options {
        let help = single_quoted(&option.help)
            .replace('[', "\\[")
            .replace(']', "\\]")
            .replace(':', "\\:");
        let value = match (&option.placeholder, option.values) {
            (None, _) => String::new(),
            (Some(name), Values::Words(words)) => format!(":{name}:({})", words.join(" ")),
            (Some(name), Values::Paths) => format!(":{name}:_files"),
            (Some(name), Values::Any) => format!(":{name}:"),
        };
        for dashed in option
            .short
            .map(|short| format!("-{short}"))
            .into_iter()
            .chain([format!("--{}", option.long)])
        {
            let _ = write!(text, " \\\n        '{dashed}[{help}]{value}'");
        }
    }
    text.push_str(" \\\n        '*:argument:_files'\n      ;;\n");
}

fn fish(server: &Tool, tools: &[Tool]) -> String {
    let mut text = String::from("# Completion of coremap for fish.\n");
    let is_server = format!("not __fish_seen_subcommand_from {}", names(tools));
    let _ = writeln!(
        text,
        "complete -c coremap -n '{is_server}; and not __fish_seen_subcommand_from serve' -a serve -d 'Run the server'"
    );
    for tool in tools {
        let _ = writeln!(
            text,
            "complete -c coremap -n '{is_server}; and not __fish_seen_subcommand_from serve' -a {} -d '{}'",
            tool.name,
            fish_quoted(short(tool))
        );
    }
    for tool in tools.iter().chain([server]) {
        let condition = match tool.name {
            name if name == server.name => is_server.clone(),
            name => format!("__fish_seen_subcommand_from {name}"),
        };
        for option in &tool.options {
            let _ = write!(
                text,
                "complete -c coremap -n '{condition}' -l {}",
                option.long
            );
            if let Some(short) = option.short {
                let _ = write!(text, " -s {short}");
            }
            let value = match (&option.placeholder, option.values) {
                (None, _) => String::new(),
                (Some(_), Values::Words(words)) => format!(" -x -a '{}'", words.join(" ")),
                (Some(_), Values::Paths) => " -r -F".to_owned(),
                (Some(_), Values::Any) => " -x".to_owned(),
            };
            let _ = writeln!(text, "{value} -d '{}'", fish_quoted(&option.help));
        }
    }
    text
}

/// Text within single quotes of a shell that has no escapes there.
fn single_quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn fish_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
