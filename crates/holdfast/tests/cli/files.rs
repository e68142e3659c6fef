//! Files of images: compared, and taken out.

use std::{fs, path::Path, process::Stdio, thread, time::Duration};

use api::{FileChange, FileChangeView};
use rustix::process::Signal;

use crate::{
    program::{holdfast, run, send},
    scripted::{Answer, ScriptedSite},
};

const IMAGE: &str = "point:web-1/latest";

/// Names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_archive_that_breaks_off_leaves_no_file() {
    let site = ScriptedSite::new(|_| Answer::Half(vec![7; 100_000]));
    for option in ["--tar", "--zip"] {
        let target = tempfile::tempdir().unwrap();
        let archive = target.path().join("etc.archive");
        let run =
            run(site.directory(), &["files", "get", IMAGE, "/vda-1/etc", option, archive.to_str().unwrap()]);
        assert_ne!(run.exit, Some(0));
        assert_eq!(names(target.path()), Vec::<String>::new(), "{}", run.stderr);
    }
}

#[test]
fn an_archive_that_is_interrupted_leaves_no_file() {
    let site = ScriptedSite::new(|_| Answer::HalfThenSilence(vec![7; 100_000]));
    let target = tempfile::tempdir().unwrap();
    let archive = target.path().join("etc.tar");
    let mut command = holdfast(site.directory());
    command.args(["files", "get", IMAGE, "/vda-1/etc", "--tar"]).arg(&archive).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The program itself shows that it has begun.
    while names(target.path()).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(names(target.path()), ["etc.tar.holdfast-partial"], "half an archive does not have its name");
    send(Signal::INT, &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(target.path()), Vec::<String>::new());
}

#[test]
fn an_archive_takes_the_place_of_nothing() {
    let site = ScriptedSite::new(|_| Answer::Json(200, "an archive".to_owned()));
    let target = tempfile::tempdir().unwrap();
    let archive = target.path().join("etc.tar");
    let get =
        || run(site.directory(), &["files", "get", IMAGE, "/vda-1/etc", "--tar", archive.to_str().unwrap()]);
    assert_eq!(get().exit, Some(0));
    fs::write(&archive, "mine").unwrap();
    assert_eq!(get().exit, Some(6));
    assert_eq!(fs::read(&archive).unwrap(), b"mine");
}

fn change(path: &str, change: FileChange) -> String {
    let view = FileChangeView {
        path: path.to_owned(),
        path_hex: None,
        change,
        differences: Vec::new(),
        before: None,
        after: None,
        reason: None,
    };
    format!("{}\n", serde_json::to_string(&view).unwrap())
}

fn diff(lines: String, arguments: &[&str]) -> crate::program::Run {
    let site = ScriptedSite::new(move |_| Answer::Json(200, lines.clone()));
    let run = run(site.directory(), &[&["files", "diff", IMAGE, "point:web-1/x"], arguments].concat());
    let line = site.requests()[0].line.clone();
    assert!(line.starts_with("GET /v1/files/changes?base=point%3Aweb-1%2Flatest&reference="), "{line}");
    run
}

#[test]
fn differences_are_printed_in_every_form_as_they_come() {
    let lines =
        || (0..2500).map(|number| change(&format!("/v/{number}"), FileChange::Added)).collect::<String>();
    let json = diff(lines(), &["-o", "json"]);
    let parsed: Vec<FileChangeView> = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.exit, parsed.len()), (Some(0), 2500));
    assert_eq!(diff(lines(), &["-o", "jsonl"]).stdout, lines());
    let table = diff(lines(), &[]);
    assert_eq!(table.stdout.lines().count(), 2501, "one line of titles, and a line for each");
    assert!(table.stderr.contains("2500 added, 0 removed, 0 changed"), "{}", table.stderr);
    assert_eq!(diff(lines(), &["-q"]).stdout.lines().next(), Some("/v/0"));
    let none = diff(String::new(), &["-o", "json"]);
    assert_eq!((none.exit, none.stdout.as_str()), (Some(0), "[]\n"));
}

#[test]
fn what_cannot_be_read_shows_in_the_exit_code() {
    let run = diff(change("/v/a", FileChange::Unreadable) + &change("/v/b", FileChange::Removed), &[]);
    assert_eq!(run.exit, Some(3));
    assert!(run.stderr.contains("1 paths cannot be read"), "{}", run.stderr);
}
