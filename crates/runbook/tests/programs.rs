//! Programs, as a plan runs them: under the real supervisor.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not know as such

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, time::Duration};

use runbook::{ErrorKind, Exit, Finished, Log, Program, run};

const LONG: Duration = Duration::from_secs(60);

fn supervisor() -> Vec<OsString> {
    vec![env!("CARGO_BIN_EXE_action-supervisor").into()]
}

fn shell(script: &str) -> Program {
    let mut program = Program::new("/bin/sh", LONG);
    program.arguments = vec!["-c".to_owned(), script.to_owned()];
    program
}

async fn finish(program: &Program) -> (Finished, String) {
    let log = Log::default();
    let finished = run(&supervisor(), program, &log).await.unwrap();
    (finished, log.text())
}

/// Whether a process of this number runs.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until a file has a line.
async fn line_of(file: &Path) -> String {
    for _ in 0..1000 {
        match fs::read_to_string(file) {
            Ok(line) if line.ends_with('\n') => return line.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("nothing was written to {}", file.display());
}

#[tokio::test]
async fn what_is_printed_and_the_code_are_kept() {
    let (finished, log) = finish(&shell("echo one; echo two >&2; echo; echo three; echo; exit 7")).await;
    assert_eq!(finished, Finished { exit: Exit::Code(7), last_line: "three".to_owned() });
    assert!(log.contains("one") && log.contains("two") && log.contains("three"), "{log}");
    assert!(finish(&shell("true")).await.0.exit.is_success());
}

#[tokio::test]
async fn words_stay_words() {
    let hostile = "a 'b' \"c\" $(touch /tmp/never) `x` ; rm\n-rf * \\ é";
    let mut program = shell(r#"printf '%s|%s|' "$1" "$NAME"; cat"#);
    program.arguments.extend(["sh".to_owned(), hostile.to_owned()]);
    program.environment = BTreeMap::from([("NAME".to_owned(), hostile.to_owned())]);
    program.input = hostile.to_owned();
    let (_, log) = finish(&program).await;
    assert_eq!(log, format!("{hostile}|{hostile}|{hostile}"));
}

#[tokio::test]
async fn the_environment_of_the_server_is_its_own() {
    let (_, log) = finish(&shell("env; pwd")).await;
    assert!(log.contains("PATH=") && !log.contains("CARGO"), "{log}");
    assert!(log.ends_with("/\n"), "{log}");
}

#[tokio::test]
async fn one_that_does_not_read_its_input_is_not_waited_for() {
    let mut program = shell("exit 3");
    program.input = "x".repeat(8 << 20);
    assert_eq!(finish(&program).await.0.exit, Exit::Code(3));
}

#[tokio::test]
async fn one_that_hangs_is_ended_with_all_that_it_started() {
    let scratch = tempfile::tempdir().unwrap();
    let pids = scratch.path().join("pids");
    // A child that ignores being asked, one in a session of its own, and one whose parent is gone.
    let mut program = shell(&format!(
        "trap '' TERM; (sleep 1000; sleep 1000) & p=$!; setsid sleep 1000 & q=$!; \
         sh -c 'sleep 1000 & echo $!' > {0}.orphan; echo $$ $p $q $(cat {0}.orphan) > {0}; wait; sleep 1000",
        pids.display()
    ));
    program.time_limit = Duration::from_secs(3);
    program.grace = Duration::from_millis(200);
    let (finished, _) = finish(&program).await;
    assert_eq!(finished.exit, Exit::TimedOut);
    let pids = line_of(&pids).await;
    assert_eq!(pids.split_whitespace().count(), 4, "{pids}");
    assert!(pids.split_whitespace().all(|pid| !lives(pid)), "something of {pids} lives");
}

#[tokio::test]
async fn one_that_ends_when_it_is_asked_may_say_so() {
    let mut program = shell("trap 'echo tidy; exit 0' TERM; while true; do sleep 0.05; done");
    program.time_limit = Duration::from_secs(2);
    program.grace = LONG;
    let (finished, log) = finish(&program).await;
    assert_eq!(finished.exit, Exit::TimedOut);
    assert!(log.contains("tidy"), "{log}");
}

#[tokio::test]
async fn what_a_finished_program_left_is_ended() {
    let (finished, log) = finish(&shell("setsid sleep 1000 & echo $!")).await;
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(!lives(&log), "{log} lives");
}

#[tokio::test]
async fn one_that_is_given_up_is_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("pid");
    let mut program = shell(&format!("echo $$ > {}; sleep 1000", file.display()));
    program.grace = Duration::ZERO;
    let (supervisor, log) = (supervisor(), Log::default());
    let pid = tokio::select! {
        _ = run(&supervisor, &program, &log) => panic!("it ended by itself"),
        pid = line_of(&file) => pid,
    };
    for _ in 0..1000 {
        if !lives(&pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{pid} lives on");
}

#[tokio::test]
async fn much_output_is_read_and_little_is_kept() {
    let (finished, log) = finish(&shell("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end")).await;
    assert_eq!(finished, Finished { exit: Exit::Code(0), last_line: "end".to_owned() });
    assert!(log.len() < 300 << 10 && log.ends_with("end\n"));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let mut elsewhere = shell("true");
    elsewhere.directory = Some("/nowhere/at/all".into());
    for (program, why) in [
        (Program::new("/nowhere/program", LONG), "there is no program /nowhere/program"),
        (Program::new("/etc/passwd", LONG), "may not be run"),
        (elsewhere, "there is no directory /nowhere/at/all"),
    ] {
        let error = run(&supervisor(), &program, &Log::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotStarted);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_signal_is_told() {
    assert_eq!(finish(&shell("kill -9 $$")).await.0.exit, Exit::Signal(9));
}
