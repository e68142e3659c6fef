//! Runbooks, by a server that really runs them.

use std::fs;

use api::{JobResult, JobView, RunbookTestView, RunbookView};

use crate::serving::Serving;

const GREETING: &str = r#"
version = 1
description = "greets somebody"
script = { command = ["/bin/sh", "-c", "cat; echo; echo \"to $1: $HOLDFAST_PARAMETER_WHO\"; echo \"{\\\"variables\\\": {\\\"said\\\": \\\"$2\\\"}}\"", "sh", "{{who}}", "{{word}}"] }
timeout_seconds = 60

[parameters.who]
[parameters.word]
default = "hello"
"#;

fn with(document: &str) -> Serving {
    let site = Serving::start();
    fs::write(site.path("runbook.toml"), document).unwrap();
    let created = site.run(&["runbook", "create", "greet", &site.path("runbook.toml")]);
    assert_eq!(created.exit, Some(0), "{}", created.stderr);
    site
}

fn tested(job: &JobView) -> &RunbookTestView {
    let Some(JobResult::RunbookTested(test)) = &job.result else { panic!("{job:?}") };
    test
}

#[test]
fn a_runbook_runs_with_its_parameters_and_sets_variables() {
    let site = with(GREETING);
    let shown: RunbookView = site.ask(&["runbook", "show", "greet"]);
    assert_eq!((shown.kind.as_str(), shown.parameters.len()), ("script", 2));
    let who = "who=a 'quoted' $(name)\nand more";
    let test: RunbookTestView = site.ask(&["runbook", "test", "greet", "--parameter", who]);
    assert_eq!((test.failure.as_deref(), test.exit_code), (None, Some(0)));
    assert!(
        test.output.contains("to a 'quoted' $(name)\nand more: a 'quoted' $(name)\nand more"),
        "{}",
        test.output
    );
    assert_eq!(test.variables["said"], "hello");
    let context: serde_json::Value = serde_json::from_str(test.output.lines().next().unwrap()).unwrap();
    assert_eq!(context["RecoveryPlanName"], "sample");
    assert_eq!((&context["FailoverType"], &context["DryRun"]), (&"Test".into(), &false.into()));
    assert_eq!(context["Parameters"]["word"], "hello");
}

#[test]
fn one_that_fails_says_how_and_keeps_what_it_printed() {
    let site =
        with("version = 1\nscript = { command = [\"/bin/sh\", \"-c\", \"echo no room >&2; exit 3\"] }");
    let failed = site.run(&["runbook", "test", "greet"]);
    assert_eq!(failed.exit, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("the runbook greet failed: it ended with code 3"), "{}", failed.stderr);
    let jobs: Vec<JobView> = site.ask(&["job", "list"]);
    assert!(tested(&jobs[0]).output.contains("no room"));
}

#[test]
fn one_that_hangs_is_ended() {
    let site = with("version = 1\ntimeout_seconds = 1\nscript = { command = [\"sleep\", \"1000\"] }");
    let failed = site.run(&["runbook", "test", "greet"]);
    assert!(failed.stderr.contains("took longer than it may, and was ended"), "{}", failed.stderr);
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let site = with(GREETING);
    let missing = site.run(&["runbook", "test", "greet"]);
    assert!(missing.stderr.contains("parameters.who: is needed, and has no default"), "{}", missing.stderr);
    let unknown = site.run(&["runbook", "test", "greet", "--parameter", "whom=x"]);
    assert!(unknown.stderr.contains("it has who, word"), "{}", unknown.stderr);
    fs::write(site.path("wrong.toml"), "version = 1\nskript = { command = [\"x\"] }").unwrap();
    let wrong = site.run(&["runbook", "edit", "greet", &site.path("wrong.toml")]);
    assert!(
        wrong.stderr.contains("unknown field") && wrong.stderr.contains("did you mean script?"),
        "{}",
        wrong.stderr
    );
    let again = site.run(&["runbook", "create", "greet", &site.path("runbook.toml")]);
    assert_eq!(again.exit, Some(6), "{}", again.stderr);
    let deleted = site.run(&["--yes", "runbook", "delete", "greet"]);
    assert_eq!(deleted.exit, Some(0), "{}", deleted.stderr);
    let gone = site.run(&["runbook", "show", "greet"]);
    assert!(gone.stderr.contains("there is no runbook greet"), "{}", gone.stderr);
}
