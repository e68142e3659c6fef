use std::{fmt::Write as _, path::Path, time::Duration};

use clap::{Arg, Command, CommandFactory as _, Parser as _};
use model::ByteCount;

use super::{Arguments, duration, rate};

/// Set, it makes this test write the pages instead of comparing them.
const UPDATE: &str = "UPDATE_CLI_DOCS";

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_help_page_is_in_the_documentation() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let mut pages = String::from(
        "# The command line\n\nEvery command's `--help`, generated: `UPDATE_CLI_DOCS=1 cargo test -p holdfast`.\n",
    );
    let mut command = Arguments::command().term_width(100);
    command.build();
    add_pages(&mut pages, &mut command);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &pages).unwrap();
    }
    let documented = std::fs::read_to_string(&file).unwrap();
    let differs = pages.lines().zip(documented.lines()).find(|(page, line)| page != line);
    assert_eq!(differs, None, "docs/cli.md is old: run {UPDATE}=1 cargo test -p holdfast");
    assert_eq!(pages.lines().count(), documented.lines().count(), "docs/cli.md is old");
}

fn add_pages(pages: &mut String, command: &mut Command) {
    let name = command.get_bin_name().unwrap_or("holdfast").to_owned();
    // What every command understands is told once, on the first page.
    let is_first = !name.contains(' ');
    let hide = |argument: Arg| if argument.is_global_set() { argument.hide(true) } else { argument };
    let mut page = if is_first { command.clone() } else { command.clone().mut_args(hide) };
    let help = page.render_long_help().to_string();
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    write!(pages, "\n## {name}\n\n```text\n{help}```\n").unwrap();
    let shown = |command: &&mut Command| !command.is_hide_set() && command.get_name() != "help";
    for subcommand in command.get_subcommands_mut().filter(shown) {
        add_pages(pages, subcommand);
    }
}

/// The words of a line of a shell, as far as examples need it.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" | ").next().unwrap_or_default();
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(place, part)| match place % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn the_commands_of_the_page_about_drills_are_understood() {
    let page = include_str!("../../../../docs/drills.md");
    let examples: Vec<_> = page.lines().filter(|line| line.starts_with("holdfast ")).collect();
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let parsed = Arguments::try_parse_from(words(example));
        assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
    }
}

#[test]
fn every_command_and_flag_is_explained_and_every_action_has_an_example() {
    fn check(command: &Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        let example = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        assert!(
            command.has_subcommands() || command.is_hide_set() || example.contains("Example"),
            "{}",
            command.get_name()
        );
        command.get_subcommands().for_each(check);
    }
    check(&Arguments::command());
}

#[test]
fn durations_have_units() {
    assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
    assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
    for text in ["10", "", "-3s", "0s", "soon"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn rates_are_sizes_a_second() {
    assert_eq!(rate("200MiB"), Ok(ByteCount(200 << 20)));
    assert_eq!(rate("200MiB/s"), Ok(ByteCount(200 << 20)));
    for text in ["0", "fast", "1MiB/m"] {
        assert!(rate(text).is_err(), "{text}");
    }
}
