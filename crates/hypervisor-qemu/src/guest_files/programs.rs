//! What takes a program in the guest: its shell, with scripts that get all they work on as arguments.

use hypervisor::{
    Error, ErrorKind, GuestContent, GuestItem, GuestItemKind, GuestItemOutcome, GuestProgram, Result,
};

use super::{Guest, WRITE_TIMEOUT, failure};

const SHELL: &str = "/bin/sh";

/// What all scripts begin with: agents do not always have a path.
const PREAMBLE: &str = "PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C\nexport PATH LC_ALL\n";
const EXIST: &str = include_str!("exist.sh");
const PREPARE: &str = include_str!("prepare.sh");
const PLACE: &str = include_str!("place.sh");
const SETTLE: &str = include_str!("settle.sh");

/// The directory beside their places in which files get ready.
const WORK_DIRECTORY: &str = ".holdfast-restore";

/// A reason that is longer tells nobody more.
const REASON_CHARACTERS: usize = 200;

impl Guest {
    pub(super) async fn exist_by_program(&mut self, paths: &[String]) -> Result<Vec<bool>> {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let lines = self.run(EXIST, &paths, paths.len()).await?;
        Ok(lines.iter().map(|line| line == "yes").collect())
    }

    /// Puts items into the guest in three steps: places are made, contents are written, and what is ready gets its name.
    pub(super) async fn put_by_programs(
        &mut self,
        items: &[GuestItem],
        content: &dyn GuestContent,
        overwrite: bool,
    ) -> Result<Vec<GuestItemOutcome>> {
        let overwrite = if overwrite { "yes" } else { "no" };
        let mut arguments = vec![overwrite, WORK_DIRECTORY];
        arguments.extend(items.iter().flat_map(|item| [kind_word(item), item.path.as_str()]));
        let prepared = self.run(PREPARE, &arguments, items.len()).await?;

        let mut outcomes = Vec::new();
        let mut ready = Vec::new();
        for (number, (item, line)) in items.iter().zip(&prepared).enumerate() {
            let mut outcome = outcome(line);
            let is_wanted = line == "ready";
            match &item.kind {
                GuestItemKind::Directory if is_wanted => {
                    outcome = GuestItemOutcome::Written { lost: Vec::new() };
                }
                GuestItemKind::File { size_bytes } if is_wanted => {
                    let place = place_of(&item.path, number);
                    match self.write_file(&place, (content, number), *size_bytes).await? {
                        None => ready.push((number, "file")),
                        Some(reason) => {
                            outcome = GuestItemOutcome::Failed { reason };
                            ready.push((number, "drop"));
                        }
                    }
                }
                GuestItemKind::Symlink { .. } if is_wanted => ready.push((number, "link")),
                _ => {}
            }
            outcomes.push(outcome);
        }
        self.place(items, &ready, overwrite, &mut outcomes).await?;
        Ok(outcomes)
    }

    /// Gives what is ready its name, and removes what did not get ready.
    async fn place(
        &mut self,
        items: &[GuestItem],
        ready: &[(usize, &str)],
        overwrite: &str,
        outcomes: &mut [GuestItemOutcome],
    ) -> Result<()> {
        let mut arguments = vec![overwrite.to_owned(), WORK_DIRECTORY.to_owned()];
        for &(number, kind) in ready {
            let Some(item) = items.get(number) else { continue };
            let target = match &item.kind {
                GuestItemKind::Symlink { target } => target.clone(),
                _ => String::new(),
            };
            let [owner, mode, time] = metadata(item);
            arguments.extend([kind.to_owned(), number.to_string(), item.path.clone()]);
            arguments.extend([owner, mode, time, target]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let placed = self.run(PLACE, &arguments, ready.len()).await?;
        for ((number, kind), line) in ready.iter().zip(placed) {
            if let Some(told) = outcomes.get_mut(*number).filter(|_| *kind != "drop") {
                *told = outcome(&line);
            }
        }
        Ok(())
    }

    pub(super) async fn settle_by_program(
        &mut self,
        directories: &[GuestItem],
    ) -> Result<Vec<GuestItemOutcome>> {
        let arguments: Vec<String> = directories
            .iter()
            .flat_map(|item| {
                let [owner, mode, time] = metadata(item);
                [item.path.clone(), owner, mode, time]
            })
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let lines = self.run(SETTLE, &arguments, directories.len()).await?;
        Ok(lines.iter().map(|line| outcome(line)).collect())
    }

    /// Runs a script that says one line for each item.
    async fn run(&mut self, script: &str, arguments: &[&str], items: usize) -> Result<Vec<String>> {
        if items == 0 {
            return Ok(Vec::new());
        }
        let script = format!("{PREAMBLE}{script}");
        let words = [SHELL, "-c", &script, "holdfast"].into_iter().chain(arguments.iter().copied());
        let program = GuestProgram::new(words.map(str::to_owned).collect());
        let ended = self.agent.exec(&program, WRITE_TIMEOUT).await;
        let ended = ended.map_err(|error| failure(&self.name, error))?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        if lines.len() != items {
            let stderr = printable(&String::from_utf8_lossy(&ended.stderr));
            let context =
                format!("the shell in the guest {} does not do what it should: {stderr}", self.name);
            return Err(Error::new(ErrorKind::Failed, context));
        }
        Ok(lines)
    }
}

fn kind_word(item: &GuestItem) -> &'static str {
    match item.kind {
        GuestItemKind::Directory => "directory",
        GuestItemKind::File { .. } => "file",
        GuestItemKind::Symlink { .. } => "link",
    }
}

/// Where the item of this number gets ready.
fn place_of(path: &str, number: usize) -> String {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{WORK_DIRECTORY}/{number}")
}

/// Owner, mode and time in the words of `chown`, `chmod` and `touch`.
fn metadata(item: &GuestItem) -> [String; 3] {
    let (seconds, nanoseconds) = item.modified;
    // Before 1970 a fraction would count backwards.
    let time = if seconds < 0 { seconds.to_string() } else { format!("{seconds}.{nanoseconds:09}") };
    [format!("{}:{}", item.user, item.group), format!("{:04o}", item.mode & 0o7777), time]
}

/// What a script says of an item.
fn outcome(line: &str) -> GuestItemOutcome {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "written" => GuestItemOutcome::Written { lost: rest.split_whitespace().map(printable).collect() },
        "kept" => GuestItemOutcome::Kept,
        "failed" => GuestItemOutcome::Failed { reason: printable(rest) },
        _ => GuestItemOutcome::Failed { reason: format!("the guest says {}", printable(line)) },
    }
}

/// A guest's words as the end of a sentence.
fn printable(text: &str) -> String {
    text.trim().chars().filter(|character| !character.is_control()).take(REASON_CHARACTERS).collect()
}
