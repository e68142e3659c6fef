//! Commands that a server suggests, for the site that this process talks to: the server does not know how that is named here.

use std::sync::OnceLock;

use clap::CommandFactory as _;

use crate::arguments::Arguments;

/// The data directory as a word of the shell, where a command without it would mean another site.
static DATA_DIRECTORY: OnceLock<String> = OnceLock::new();

/// From now on, commands name this data directory.
pub fn aim(data_directory: String) {
    // The first context is the only one.
    let _ = DATA_DIRECTORY.set(data_directory);
}

/// A text whose commands mean this site.
pub fn aimed(text: &str) -> String {
    match DATA_DIRECTORY.get() {
        Some(directory) => aimed_at(text, directory),
        None => text.to_owned(),
    }
}

/// The text with the data directory in every command that names none.
fn aimed_at(text: &str, directory: &str) -> String {
    const PROGRAM: &str = "holdfast ";
    if text.contains("--data-dir") {
        return text.to_owned();
    }
    let command = Arguments::command();
    let is_command = |before: &str, after: &str| {
        let word = after.split(|character: char| !character.is_ascii_alphanumeric()).next();
        let begins =
            before.chars().next_back().is_none_or(|it| !it.is_alphanumeric() && !"/-_.".contains(it));
        begins && word.is_some_and(|word| command.find_subcommand(word).is_some())
    };
    let (mut aimed, mut rest) = (String::new(), text);
    while let Some(place) = rest.find(PROGRAM) {
        let (before, (program, after)) = (&rest[..place], rest[place..].split_at(PROGRAM.len()));
        aimed.extend([before, program]);
        if is_command(before, after) {
            aimed.extend(["--data-dir ", directory, " "]);
        }
        rest = after;
    }
    aimed + rest
}

#[cfg(test)]
mod tests;
