//! Commands that wait for jobs.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use api::{Code, DamageView, JobResult, JobView, Problem, VerifyView};
use model::{ByteCount, JobKind, JobState};
use rustix::process::Signal;

use crate::{
    program::{holdfast, run, send},
    scripted::{Answer, ScriptedSite},
    views::{failed, point, running, succeeded},
};

const BACKUP: &str = "POST /v1/vms/web-1/backups";

/// A site in which a job starts and then tells these events.
fn site(events: impl Fn() -> Answer + Send + 'static) -> ScriptedSite {
    ScriptedSite::new(move |line| match line {
        line if line.ends_with("/events") => events(),
        line if line.starts_with("GET /v1/jobs/") => Answer::Death,
        _ => Answer::ok(&running("waiting for its turn", 0)),
    })
}

fn site_of_success() -> ScriptedSite {
    site(|| Answer::Events(vec![running("freezing", 0), running("reading vda", 1 << 30), succeeded()]))
}

#[test]
fn a_backup_ends_with_the_point_and_nothing_else_on_standard_output() {
    let site = site_of_success();
    let run = run(site.directory(), &["backup", "web-1", "--label", "before"]);
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    assert_eq!(site.body(BACKUP)["label"], "before");
    assert!(run.stdout.starts_with("Point:"), "{}", run.stdout);
    assert!(run.stdout.contains("file-system, application was asked for: no hooks ran"), "{}", run.stdout);
    assert!(run.stdout.contains("paused for 4.2 ms"), "{}", run.stdout);
    assert_eq!(
        run.stderr,
        "backup of web-1: waiting for its turn, 0 B of 8.00 GiB (0 %)\n\
         backup of web-1: freezing, 0 B of 8.00 GiB (0 %)\n\
         backup of web-1: reading vda, 1.00 GiB of 8.00 GiB (12 %)\n\
         backup of web-1: succeeded\n\
         warning: the guest has no hooks\n"
    );
}

#[test]
fn programs_get_the_point_on_one_stream_and_progress_on_the_other() {
    let run = run(site_of_success().directory(), &["backup", "web-1", "-o", "jsonl"]);
    assert_eq!(run.stdout, format!("{}\n", serde_json::to_string(&point()).unwrap()));
    let (warnings, progress): (Vec<_>, Vec<_>) =
        run.stderr.lines().partition(|line| line.starts_with("warning: "));
    let progress: Vec<serde_json::Value> =
        progress.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(progress.len(), 4);
    assert_eq!(progress[2]["type"], "progress");
    assert_eq!(progress[2]["done_bytes"], 1 << 30);
    assert_eq!(progress[3]["state"], "succeeded");
}

#[test]
fn a_quiet_backup_prints_a_reference_for_the_next_command() {
    let run = run(site_of_success().directory(), &["backup", "web-1", "-q"]);
    assert_eq!(run.stdout, format!("point:{}/{}\n", point().vm_id, point().id));
    assert_eq!(run.stderr, "warning: the guest has no hooks\n");
}

#[test]
fn a_backup_can_be_left_alone() {
    let site = site(|| Answer::Death);
    let run = run(site.directory(), &["backup", "web-1", "--no-wait", "-o", "json"]);
    assert_eq!(run.exit, Some(0));
    assert_eq!(serde_json::from_str::<JobView>(&run.stdout).unwrap(), running("waiting for its turn", 0));
    assert!(run.stderr.contains("holdfast job watch "), "{}", run.stderr);
    assert_eq!(site.requests().len(), 1);
}

#[test]
fn a_wait_that_times_out_leaves_the_job_alone() {
    let site = site(|| Answer::EventsThenSilence(vec![running("reading vda", 0)]));
    let run = run(site.directory(), &["backup", "web-1", "--timeout", "50ms"]);
    assert_eq!((run.exit, run.stdout.as_str()), (Some(9), ""));
    let (id, directory) = (running("", 0).id, site.directory().display());
    let hint = format!("hint: watch it: holdfast job watch {id} --data-dir {directory}, or cancel it: ");
    assert!(run.stderr.contains(&format!("job {id} goes on\n{hint}")), "{}", run.stderr);
    assert!(site.requests().iter().all(|request| !request.line.contains("cancel")));
}

#[test]
fn an_interrupted_wait_leaves_the_job_alone() {
    let site = site(|| Answer::EventsThenSilence(vec![running("reading vda", 0)]));
    let mut command = holdfast(site.directory());
    let mut child = command.args(["backup", "web-1"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("reading vda") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended too early");
    }
    send(Signal::INT, &child);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted; job ") && rest.contains("holdfast job cancel "), "{rest}");
    assert!(site.requests().iter().all(|request| !request.line.contains("cancel")));
}

#[test]
fn a_failed_job_fails_the_command_in_its_own_way() {
    let problem = Problem::new(Code::NoSpace, "writing a pack: the vault is full").with_hint("make room");
    let site = site(move || Answer::Events(vec![failed(problem.clone())]));
    let run = run(site.directory(), &["backup", "web-1"]);
    assert_eq!((run.exit, run.stdout.as_str()), (Some(1), ""));
    let end = "error: backup of web-1: writing a pack: the vault is full\nhint: make room\n";
    assert!(run.stderr.ends_with(end), "{}", run.stderr);
}

#[test]
fn a_cancelled_job_is_not_a_success() {
    let cancelled = || JobView { state: JobState::Cancelled, ..running("reading vda", 0) };
    let site = site(move || Answer::Events(vec![cancelled()]));
    let run = run(site.directory(), &["backup", "web-1"]);
    assert_eq!(run.exit, Some(1));
    assert!(run.stderr.ends_with("error: backup of web-1: the job was cancelled\n"), "{}", run.stderr);
}

#[test]
fn damage_is_shown_and_told_by_the_exit_code() {
    let found = VerifyView {
        is_partial: false,
        digest_only_pack_count: 0,
        vault: "main".into(),
        pack_count: 3,
        chunk_count: 99,
        read_bytes: ByteCount(1 << 20),
        damages: vec![DamageView {
            object: "packs/ab".into(),
            chunk: Some("cd".into()),
            detail: "flipped".into(),
        }],
        hurt_points: Vec::new(),
        intact_point_count: 2,
    };
    let site = site(move || {
        Answer::Events(vec![JobView {
            kind: JobKind::Verify,
            subject: "main".into(),
            result: Some(JobResult::Verified(found.clone())),
            ..failed(Problem::new(Code::Damaged, "1 chunk is damaged"))
        }])
    });
    let run = run(site.directory(), &["vault", "verify", "main"]);
    assert_eq!(run.exit, Some(8));
    assert!(run.stdout.contains("DAMAGED") && run.stdout.contains("packs/ab"), "{}", run.stdout);
    assert!(run.stderr.ends_with("error: verify of main: 1 chunk is damaged\n"), "{}", run.stderr);
}

#[test]
fn a_server_that_dies_is_not_a_job_that_failed() {
    let site = site(|| Answer::Events(vec![running("reading vda", 0)]));
    let run = run(site.directory(), &["backup", "web-1"]);
    assert_eq!(run.exit, Some(7));
    assert!(run.stderr.contains("once the server runs again: holdfast job watch "), "{}", run.stderr);
}

#[test]
fn a_job_that_has_ended_already_can_be_watched() {
    let site = ScriptedSite::new(|line| match line {
        "GET /v1/jobs/latest" => Answer::ok(&succeeded()),
        _ => Answer::Events(vec![succeeded()]),
    });
    let run = run(site.directory(), &["job", "watch", "latest", "-q"]);
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("point:"), "{}", run.stdout);
}
