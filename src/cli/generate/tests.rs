//! What is generated names every option, and each shell and man can read it, where it is installed.

use std::path::Path;
use std::process::{Command, Output};

use super::*;

/// Everything that is generated, in a folder that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("coremap-generate-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let generate = Generate {
            directory: directory.clone(),
        };
        generate.run().expect("it can be written");
        Self(directory)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("it was written")
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join(folder)).expect("it was written");
        entries.flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The output of a program, if there is such a program.
fn output_of(program: &str, arguments: &[&str], path: &Path) -> Option<Output> {
    let output = Command::new(program).args(arguments).arg(path).output();
    if output.is_err() {
        eprintln!("skipped: {program} is not installed");
    }
    output.ok()
}

#[test]
fn every_option_of_every_command_is_named_everywhere() {
    let folder = Folder::new("named");
    let server = server();
    for tool in tools().iter().chain([&server]) {
        let page = match tool.name {
            "serve" => folder.text("man/coremap.1"),
            name => folder.text(&format!("man/coremap-{name}.1")),
        };
        for option in &tool.options {
            let long = &option.long;
            let escaped = long.replace('-', "\\-");
            assert!(page.contains(&format!("\\-\\-{escaped}")), "{long}: {page}");
            assert!(
                folder
                    .text("completions/coremap.bash")
                    .contains(&format!("--{long}"))
            );
            assert!(
                folder
                    .text("completions/_coremap")
                    .contains(&format!("'--{long}["))
            );
            assert!(
                folder
                    .text("completions/coremap.fish")
                    .contains(&format!("-l {long} "))
            );
        }
    }
    let settings = folder.text("man/coremap.conf.5");
    for setting in super::settings() {
        let escaped = setting.name.replace('-', "\\-");
        assert!(settings.contains(&format!(".BR {escaped} ")), "{escaped}");
        assert!(
            server
                .options
                .iter()
                .any(|option| option.long == setting.name)
        );
    }
}

#[test]
fn every_command_of_the_program_has_a_page() {
    for tool in tools() {
        let words = [tool.name.to_owned(), "--help".to_owned()];
        assert!(
            matches!(
                super::super::parse(&words),
                Ok(super::super::Request::Print(_))
            ),
            "{}",
            tool.name
        );
        assert!(
            super::super::help().contains(&format!("coremap {}", tool.name)),
            "{}",
            tool.name
        );
    }
}

#[test]
fn pages_are_read_by_man_without_a_warning() {
    let folder = Folder::new("man");
    for page in folder.files("man") {
        let arguments = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8"];
        let Some(output) = output_of("man", &arguments, &page) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            page.display()
        );
    }
}

#[test]
fn shells_find_nothing_wrong_with_their_scripts() {
    let folder = Folder::new("syntax");
    for (shell, script) in [
        ("bash", "coremap.bash"),
        ("zsh", "_coremap"),
        ("fish", "coremap.fish"),
    ] {
        let path = folder.0.join("completions").join(script);
        if let Some(output) = output_of(shell, &["-n"], &path) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{shell}: {said}"
            );
        }
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = Folder::new("bash");
    let complete = |words: &[&str]| {
        let script = folder.0.join("completions/coremap.bash");
        let asks = format!(
            "cd /; . {}; COMP_WORDS=({}); COMP_CWORD={}; _coremap; echo ${{COMPREPLY[@]}}",
            script.display(),
            words.join(" "),
            words.len() - 1
        );
        let output = Command::new("bash").args(["-c", &asks]).output();
        let output = output.expect("there is bash");
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("it is text")
            .trim()
            .to_owned()
    };
    assert_eq!(complete(&["coremap", "doc"]), "doctor");
    assert_eq!(
        complete(&["coremap", "cli", "--memk"]),
        "--memkeys --memkeys-samples"
    );
    assert_eq!(
        complete(&["coremap", "serve", "--maxmemory-p"]),
        "--maxmemory-policy"
    );
    assert_eq!(complete(&["coremap", "--appendfsync", "e"]), "everysec");
    assert_eq!(complete(&["coremap", "doctor", "--root", "et"]), "etc");
    assert_eq!(complete(&["coremap", "cli", "-p", "\"\""]), "");
}
