//! Policies: what is asked for, and how they look.

use api::{
    FollowedPolicyView, FollowerView, KeepRules, MadeView, PolicyView, ProtectionView, RunsView, VerdictView,
};
use model::{Consistency, RunKind};
use serde_json::json;

use crate::{
    program::run,
    scripted::{Answer, ScriptedSite},
    views::{moment, point, vm},
};

fn runs() -> RunsView {
    RunsView { next_run_at: Some(moment()), ..RunsView::default() }
}

fn policy() -> PolicyView {
    PolicyView {
        name: "nightly".into(),
        schedule: "mon..fri 21:00".into(),
        zone: "Asia/Seoul".into(),
        next_runs: vec![moment(), moment(), moment()],
        keep: KeepRules { daily: Some(7), within_hours: Some(48), ..KeepRules::default() },
        jitter_seconds: 600,
        grace_hours: 24,
        grace_until: Some(moment()),
        followers: vec![FollowerView {
            vm: "web-1".into(),
            kind: RunKind::Snapshot,
            runs: RunsView {
                failed: Some("the store is full".into()),
                last_run_at: Some(moment()),
                ..runs()
            },
        }],
        created_at: moment(),
    }
}

#[test]
fn a_policy_is_asked_for_as_it_was_written_and_shown_by_its_own_clock() {
    let site = ScriptedSite::new(|_| Answer::ok(&policy()));
    let arguments = [
        "policy",
        "create",
        "nightly",
        "--schedule",
        "mon..fri 21:00",
        "--zone",
        "Asia/Seoul",
        "--keep-daily",
        "7",
        "--keep-within",
        "2d",
        "--jitter",
        "10m",
        "--grace",
        "0h",
    ];
    let created = run(site.directory(), &arguments);
    assert_eq!(created.exit, Some(0), "{}", created.stderr);
    let body = json!({
        "name": "nightly", "schedule": "mon..fri 21:00", "zone": "Asia/Seoul",
        "keep": {"daily": 7, "within_hours": 48}, "jitter_seconds": 600, "grace_hours": 0,
    });
    assert_eq!(site.body("POST /v1/policies"), body);
    assert_eq!(created.stdout.matches("2026-03-01 22:05:07 +09:00").count(), 5, "{}", created.stdout);
    for words in ["7 daily, all of 48 h", "web-1  snapshots", "failed: the store is full"] {
        assert!(created.stdout.contains(words), "{}", created.stdout);
    }
}

#[test]
fn a_dry_run_shows_what_would_go_and_changes_nothing() {
    let verdict = |kept_by: &[&str], goes| VerdictView {
        made: MadeView::Point(Box::new(point())),
        kept_by: kept_by.iter().map(|&rule| rule.to_owned()).collect(),
        goes_from: goes,
        stays_because: None,
    };
    let verdicts = [verdict(&["newest", "daily"], None), verdict(&[], Some(moment()))];
    let site = ScriptedSite::new(move |_| Answer::ok(&verdicts));
    let edited = run(site.directory(), &["policy", "edit", "nightly", "--keep-last", "1", "--dry-run"]);
    assert_eq!(edited.exit, Some(0), "{}", edited.stderr);
    assert_eq!(site.requests().len(), 1);
    let body = site.body("POST /v1/policies/nightly/preview");
    assert_eq!((&body["keep"], &body["schedule"]), (&json!({"last": 1}), &json!(null)));
    assert!(
        edited.stdout.contains("newest, daily") && edited.stdout.contains("no rule keeps it"),
        "{edited:?}"
    );

    let site = ScriptedSite::new(|_| Answer::ok(&policy()));
    assert_eq!(run(site.directory(), &["policy", "delete", "nightly", "--dry-run"]).exit, Some(0));
    assert_eq!(
        site.requests().iter().map(|request| request.line.as_str()).collect::<Vec<_>>(),
        ["GET /v1/policies/nightly"]
    );
}

#[test]
fn a_vm_shows_its_policy_and_its_runs() {
    let mut followed = vm("web-1");
    followed.protection = Some(ProtectionView {
        vault: "main".into(),
        policy: Some(FollowedPolicyView {
            name: "nightly".into(),
            runs: RunsView {
                last_run_at: Some(moment()),
                skipped: Some("the backup x had not ended".into()),
                ..runs()
            },
        }),
        consistency: Consistency::Application,
        strict: false,
        freeze_limit_ms: 10_000,
        read_limit_bytes_per_second: None,
        pre_script: None,
        post_script: None,
    });
    followed.snapshot_policy = Some(FollowedPolicyView {
        name: "often".into(),
        runs: RunsView { consistency: Some(Consistency::FileSystem), ..runs() },
    });
    let site = ScriptedSite::new(move |_| Answer::ok(&followed));
    let shown = run(site.directory(), &["vm", "show", "web-1"]);
    for words in [
        "nightly, next run 2026-03-01 13:05:07",
        "skipped: the backup x had not ended",
        "often, file-system-consistent",
    ] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }
    let protected = run(site.directory(), &["protect", "web-1", "--vault", "main", "--policy", "nightly"]);
    assert_eq!(protected.exit, Some(0), "{}", protected.stderr);
    assert_eq!(site.body("PUT /v1/vms/web-1/protection")["policy"], "nightly");
    let asked = ["snapshot", "schedule", "web-1", "--policy", "often", "--consistency", "file-system"];
    assert_eq!(run(site.directory(), &asked).exit, Some(0));
    let body = json!({"policy": "often", "consistency": "file-system"});
    assert_eq!(site.body("PUT /v1/vms/web-1/snapshot-policy"), body);
    assert_eq!(run(site.directory(), &["snapshot", "unschedule", "web-1"]).exit, Some(0));
    let last = site.requests().pop().map(|request| request.line);
    assert_eq!(last.as_deref(), Some("DELETE /v1/vms/web-1/snapshot-policy"));
}
