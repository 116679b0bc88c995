//! COMMAND as clients read it.

use crate::command::tests::Cores;

#[test]
fn info_has_ten_elements_in_both_protocols() {
    let mut cores = Cores::new(1);
    let ping = "*1\r\n*10\r\n$4\r\nping\r\n:-1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n*2\r\n+@fast\r\n\
        +@connection\r\n*2\r\n$25\r\nrequest_policy:all_shards\r\n\
        $29\r\nresponse_policy:all_succeeded\r\n*0\r\n*0\r\n";
    assert_eq!(cores.run("COMMAND INFO ping"), ping);
    assert_eq!(
        cores.run("COMMAND INFO PING nosuch"),
        ping.replace("*1\r\n*10", "*2\r\n*10") + "$-1\r\n"
    );
    cores.run("HELLO 3");
    let resp3 = "*2\r\n*10\r\n$4\r\nping\r\n:-1\r\n~1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n~2\r\n+@fast\r\n\
        +@connection\r\n~2\r\n$25\r\nrequest_policy:all_shards\r\n\
        $29\r\nresponse_policy:all_succeeded\r\n~0\r\n~0\r\n_\r\n";
    assert_eq!(cores.run("COMMAND INFO ping nosuch"), resp3);
}

#[test]
fn info_of_a_container_has_its_subcommands() {
    let mut cores = Cores::new(1);
    let info = cores.run("COMMAND INFO config");
    let head = "*1\r\n*10\r\n$6\r\nconfig\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*1\r\n+@slow\r\n*0\r\n*0\r\n\
        *5\r\n*10\r\n$10\r\nconfig|get\r\n";
    assert!(info.starts_with(head), "{info}");
    let sub = "*1\r\n*10\r\n$11\r\nclient|list\r\n:-2\r\n*4\r\n+admin\r\n+noscript\r\n+loading\r\n\
        +stale\r\n:0\r\n:0\r\n:0\r\n*4\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n+@connection\r\n\
        *1\r\n$23\r\nnondeterministic_output\r\n*0\r\n*0\r\n";
    assert_eq!(cores.run("COMMAND INFO client|list"), sub);
}

#[test]
fn all_ways_to_ask_for_everything_agree() {
    let mut cores = Cores::new(1);
    let count = cores.run("COMMAND COUNT");
    let count: usize = count.trim_start_matches(':').trim_end().parse().unwrap();
    assert_eq!(count, crate::command::rows().len());
    let all = cores.run("COMMAND");
    assert!(all.starts_with(&format!("*{count}\r\n")));
    assert_eq!(cores.run("COMMAND INFO"), all);
    assert!(
        cores
            .run("COMMAND DOCS")
            .starts_with(&format!("*{}\r\n", 2 * count))
    );
    let subcommand_count: usize = crate::command::rows()
        .map(|row| row.subcommands.len())
        .sum();
    let list = cores.run("COMMAND LIST");
    assert!(list.starts_with(&format!("*{}\r\n", count + subcommand_count)));
}

#[test]
fn lists_are_filtered_by_category_module_and_pattern() {
    let mut cores = Cores::new(1);
    let cases = [
        ("COMMAND LIST FILTERBY PATTERN EC?O", "*1\r\n$4\r\necho\r\n"),
        (
            "COMMAND LIST FILTERBY PATTERN module*",
            "*3\r\n$6\r\nmodule\r\n$11\r\nmodule|help\r\n$11\r\nmodule|list\r\n",
        ),
        ("COMMAND LIST FILTERBY MODULE x", "*0\r\n"),
        ("COMMAND LIST FILTERBY ACLCAT nosuch", "*0\r\n"),
        ("COMMAND LIST FILTERBY FOO x", "-ERR syntax error\r\n"),
        ("COMMAND LIST FILTERBY", "-ERR syntax error\r\n"),
        ("COMMAND LIST FOO", "-ERR syntax error\r\n"),
        (
            "COMMAND FOO",
            "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.\r\n",
        ),
        (
            "COMMAND COUNT x",
            "-ERR wrong number of arguments for 'command|count' command\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
    assert!(
        cores
            .run("COMMAND LIST FILTERBY ACLCAT Connection")
            .contains("client|list")
    );
}

#[test]
fn keys_are_found_where_the_row_says() {
    let mut cores = Cores::new(1);
    let cases = [
        (
            "COMMAND GETKEYS pfmerge d",
            "-ERR Invalid arguments specified for command\r\n",
        ),
        (
            "COMMAND GETKEYS nosuch a",
            "-ERR Invalid command specified\r\n",
        ),
        (
            "COMMAND GETKEYS CONFIG FOO",
            "-ERR Invalid command specified\r\n",
        ),
        (
            "COMMAND GETKEYS PING x",
            "-ERR The command has no key arguments\r\n",
        ),
        (
            "COMMAND GETKEYS CONFIG GET k",
            "-ERR The command has no key arguments\r\n",
        ),
        (
            "COMMAND GETKEYS x",
            "-ERR wrong number of arguments for 'command|getkeys' command\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
}

#[test]
fn keys_come_with_what_happens_to_them() {
    let mut cores = Cores::new(1);
    let one = |flags: &[&str]| {
        let flags: String = flags.iter().map(|flag| format!("+{flag}\r\n")).collect();
        format!(
            "*1\r\n*2\r\n$1\r\nk\r\n*{}\r\n{flags}",
            flags.matches('+').count()
        )
    };
    let write = one(&["OW", "update"]);
    assert_eq!(cores.run("COMMAND GETKEYSANDFLAGS SET k v"), write);
    let swap = one(&["RW", "access", "update"]);
    assert_eq!(cores.run("COMMAND GETKEYSANDFLAGS SET k v GET"), swap);
    let two = "*2\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n\
        *2\r\n$1\r\nb\r\n*2\r\n+OW\r\n+update\r\n";
    assert_eq!(cores.run("COMMAND GETKEYSANDFLAGS COPY a b"), two);
    let none = "-ERR The command has no key arguments\r\n";
    assert_eq!(cores.run("COMMAND GETKEYSANDFLAGS PING x"), none);
}
