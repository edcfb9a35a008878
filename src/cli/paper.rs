//! `completions` and `man`: shell completions and manual pages from the command line's definition.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, exit::ExitCode};

/// Prints the completions. They are made in memory first, because their generator panics on a closed pipe.
pub(super) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "doorbuster", &mut script);
    print(&script)
}

/// Prints the program's page, or writes it and one page per subcommand into a directory.
pub(super) fn man(directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Some(directory) = directory else { return print(&page(&Cli::command())?) };
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    for (name, page) in pages()? {
        let file = directory.join(name);
        fs::write(&file, page).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(ExitCode::Clean)
}

/// Each page with its file name: `doorbuster.1`, `doorbuster-serve.1`, `doorbuster-keys-new.1` and so on.
fn pages() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    let mut open = vec![root];
    while let Some(command) = open.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        pages.push((format!("{name}.1"), page(&command)?));
        open.extend(command.get_subcommands().cloned());
    }
    Ok(pages)
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone().disable_help_subcommand(true)).render(&mut page)?;
    Ok(page)
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(ExitCode::Clean)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    /// Every command below the program, as its words, such as `keys new`.
    fn commands() -> Vec<Vec<String>> {
        fn walk(command: &Command, words: &[String], found: &mut Vec<Vec<String>>) {
            for below in command.get_subcommands() {
                let words = [words, &[below.get_name().to_owned()]].concat();
                walk(below, &words, found);
                found.push(words);
            }
        }
        let mut found = Vec::new();
        walk(&Cli::command(), &[], &mut found);
        assert!(found.len() > 8, "{found:?}");
        found
    }

    #[test]
    fn completions_name_every_command_and_option_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "doorbuster", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in commands().concat().iter().map(String::as_str).chain(["ops-listen", "shoppers", "live"]) {
                assert!(script.contains(word), "{word} is not in the completions for {shell}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_every_command_and_the_first_names_them() {
        let pages = pages().unwrap();
        let commands = commands();
        assert_eq!(pages.len(), commands.len() + 1);
        let text = |name: &str| {
            let (_, page) = pages.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no {name}"));
            String::from_utf8(page.clone()).unwrap()
        };
        for words in &commands {
            let name = format!("doorbuster-{}", words.join("-"));
            assert!(text(&format!("{name}.1")).contains(&name.replace('-', r"\-")), "{name} does not name itself");
            let above = ["doorbuster"].into_iter().chain(words[..words.len() - 1].iter().map(String::as_str));
            let above = text(&format!("{}.1", above.collect::<Vec<_>>().join("-")));
            assert!(above.contains(&format!("{}(1)", name.replace('-', r"\-"))), "{name} is not named above it");
        }
        assert!(text("doorbuster.1").contains("5 the data directory is in use"), "exit codes are told");
        assert_eq!(text("doorbuster.1"), String::from_utf8(page(&Cli::command()).unwrap()).unwrap());
    }
}
