//! What people get who type something wrong, or for whom something is wrong.

use std::{fs::File, process::Stdio};

use api::{CheckStatus, CheckView, Code, Problem};

use crate::{
    program::{holdfast, run},
    scripted::{Answer, ScriptedSite},
};

#[test]
fn without_a_server_the_hint_starts_one() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("my site");
    let run = run(&directory, &["vm", "list"]);
    assert_eq!((run.exit, run.stdout.as_str()), (Some(7), ""));
    assert!(run.stderr.starts_with("error: no server answers at "), "{}", run.stderr);
    let command = format!("holdfast serve --data-dir '{}'", directory.display());
    assert!(run.stderr.contains(&format!("hint: start it: {command}\n")), "{}", run.stderr);
}

#[test]
fn a_wrong_command_line_says_what_to_write() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["vm", "lst"][..], "unrecognized subcommand 'lst'"),
        (&["vm", "list", "--al"], "unexpected argument '--al'"),
        (&["vm", "add", "x"], "--definition"),
        (&["vm", "add", "--qmp", "a", "--definition", "b"], "cannot be used with"),
        (&["backup", "web-1", "--no-wait", "--timeout", "5s"], "cannot be used with"),
        (&["backup", "web-1", "--consistency", "perfect"], "use application, file-system or crash"),
        (&["protect", "web-1", "--vault", "v", "--freeze-limit", "10"], "10s"),
        (&["protect", "web-1", "--vault", "v", "--read-limit", "fast"], "512MiB"),
        (&["vault", "create", "a/b"], "letters, digits"),
        (&["vault", "create", "a", "--passphrase", "--save-key", "k"], "cannot be used with"),
        (&["vault", "create", "a", "--url", "s3:bucket"], "s3://bucket"),
        (&["vault", "attach", "a", "--url", "/v"], "--key-file"),
        (&["point", "show", "web-1/latest"], "hint: write point:web-1/latest"),
        (&["restore", "disk", "point:web-1", "--to", "x"], "point:web-1/latest"),
        (&["restore", "disk", "point:web-1/latest"], "--to"),
        (&["vault", "verify", "main", "--sample", "0"], "1% to 100%"),
        (&["vault", "verify", "main", "--sample", "5%", "--older-than", "30d"], "cannot be used with"),
        (&["vault", "gc", "main", "--grace", "3 apples"], "12h, 30d or 2w"),
        (&["vault", "copy", "add", "main", "a/b", "--url", "/c"], "letters, digits"),
        (&["vault", "key", "add", "main"], "--passphrase"),
        (&["vault", "immutability", "set", "main", "--soft-delete", "36h"], "whole days"),
        (&["vault", "immutability", "set", "main"], "nothing to change"),
        (&["policy", "create", "nightly"], "--schedule"),
        (&["policy", "edit", "nightly"], "nothing to change"),
        (&["policy", "edit", "nightly", "--keep-within", "3 apples"], "12h, 30d or 2w"),
        (&["point", "hold", "point:web-1/latest"], "--reason"),
        (&["point", "delete", "web-1/latest"], "hint: write point:web-1/latest"),
        (&["rescue", "list"], "--url"),
        (&["rescue", "--url", "/v", "list"], "--kit"),
        (&["rescue", "--url", "/v", "--passphrase", "--key-file", "k", "list"], "not several"),
        (
            &["rescue", "--url", "/v", "--kit=k", "restore", "vm", "point:a/latest/vda", "--to", "x"],
            "is a disk",
        ),
        (&["serve", "--peer-listen", "8443"], "backup.example.com:8443"),
        (&["serve", "--peer-address", "a:1"], "--peer-listen"),
        (&["site", "token", "--valid", "10"], "10s"),
        (&["site", "pair"], "<TOKEN>"),
        (&["site", "pair", "x", "--name", "a/b"], "letters, digits"),
        (&["site", "map-network", "east"], "<THEIRS=OURS>"),
        (&["site", "map-network", "east", "br0"], "vmbr0=br-lan"),
        (&["site", "map-network", "east", "br0=a b"], "neither the name of a bridge nor isolated"),
        (&["replica", "edit", "web-1"], "nothing to change"),
        (&["replica", "edit", "web-1", "--network", "x=br0"], "no number of a network interface"),
        (
            &["replica", "edit", "web-1", "--test-network", "0=a/b"],
            "neither the name of a bridge nor isolated",
        ),
        (&["replica", "edit", "web-1", "--reset", "colour"], "test-networks"),
        (&["backup", "replica:web-1"], "--vault VAULT"),
        (&["backup", "replica:web-1/latest/root", "--vault", "main"], "leave the disk out"),
        (&["backup", "web-1", "--vault", "main"], "the vault that protects it"),
        (&["point", "test", "replica:"], "replica points VM shows"),
        (&["vm", "list", "-o", "xml"], "table, json, jsonl"),
    ] {
        let run = run(directory.path(), arguments);
        assert_eq!((run.exit, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(words), "{}", run.stderr);
    }
}

#[test]
fn a_definition_with_a_mistake_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.toml");
    std::fs::write(&file, "name = \"web\"\nmemory = \"2 apples\"\n").unwrap();
    let run = run(directory.path(), &["vm", "add", "--definition", file.to_str().unwrap()]);
    assert_eq!(run.exit, Some(2));
    assert!(run.stderr.contains("web.toml:2:10: \"2 apples\" is not a size"), "{}", run.stderr);
}

#[test]
fn each_problem_has_its_exit_code() {
    for (code, exit) in [
        (Code::Invalid, 2),
        (Code::NotFound, 4),
        (Code::Conflict, 6),
        (Code::Refused, 6),
        (Code::Overtaken, 6),
        (Code::Fenced, 6),
        (Code::Denied, 5),
        (Code::Unreachable, 7),
        (Code::Damaged, 8),
        (Code::NoVault, 10),
        (Code::WrongKey, 12),
        (Code::NoSpace, 1),
        (Code::Consistency, 1),
        (Code::Cancelled, 1),
        (Code::Interrupted, 1),
        (Code::Failed, 1),
    ] {
        let problem = Problem::new(code, "opening the vault: it is not so").with_hint("do this");
        let site = ScriptedSite::new(move |_| Answer::problem(&problem));
        let run = run(site.directory(), &["vm", "show", "web-1"]);
        assert_eq!((run.exit, run.stdout.as_str()), (Some(exit), ""), "{code:?}");
        assert_eq!(run.stderr, "error: opening the vault: it is not so\nhint: do this\n");
    }
}

#[test]
fn a_failed_check_is_told_by_the_exit_code_and_a_warning_is_not() {
    for (status, exit) in [(CheckStatus::Warning, 0), (CheckStatus::Failed, 3)] {
        let check = |status| CheckView { name: "qemu".into(), status, detail: "7.2.22".into(), hint: None };
        let checks = [check(CheckStatus::Ok), check(status)];
        let site = ScriptedSite::new(move |_| Answer::ok(&checks));
        let run = run(site.directory(), &["doctor"]);
        assert_eq!(run.exit, Some(exit), "{}", run.stderr);
        assert_eq!(run.stdout.lines().count(), 3, "{}", run.stdout);
    }
}

#[test]
fn help_and_version_are_data() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["vm", "add", "--help"], &["version"], &["completion", "bash"]] {
        let run = run(directory.path(), arguments);
        assert_eq!((run.exit, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(run.stdout.contains("holdfast"), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["completion", "bash"][..], &["--help"]] {
        let mut command = holdfast(directory.path());
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = holdfast(directory.path()).arg("version").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output: No space left")
    );
}
