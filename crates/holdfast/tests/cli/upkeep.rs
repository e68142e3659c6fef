//! The upkeep of vaults: what is asked for, and what is asked before.

use api::{
    AddedKey, CheckStatus, CheckView, CopyState, CopyView, KeySlotView, PointView, ProbeView,
    RecoveryKitView, SettingsView, VaultView,
};
use model::Immutability;
use serde_json::json;

use crate::{
    program::run,
    scripted::{Answer, ScriptedSite},
    views::{moment, point, succeeded, vault},
};

fn slot() -> KeySlotView {
    KeySlotView {
        id: "3f9a".repeat(16),
        kind: Some("key file".into()),
        label: "usb stick".into(),
        created_at: Some(moment()),
        problem: None,
    }
}

fn settings() -> SettingsView {
    SettingsView { soft_delete_days: 14, immutability: Immutability::Locked, min_retention_days: 30 }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn jobs_are_asked_for_as_they_were_written() {
    for (line, request, body) in [
        (
            "vault gc main --grace 2d",
            "POST /v1/vaults/main/gc",
            json!({"dry_run": false, "grace_hours": 48, "ignore_damaged": []}),
        ),
        (
            "vault gc main --dry-run",
            "POST /v1/vaults/main/gc",
            json!({"dry_run": true, "grace_hours": null, "ignore_damaged": []}),
        ),
        (
            "vault verify main --sample 10%",
            "POST /v1/vaults/main/verify",
            json!({"sample_percent": 10, "older_than_hours": null}),
        ),
        (
            "vault verify main --older-than 30d",
            "POST /v1/vaults/main/verify",
            json!({"sample_percent": null, "older_than_hours": 720}),
        ),
        (
            "vault repair main --from-copy a --from-copy b",
            "POST /v1/vaults/main/repair",
            json!({"from_copies": ["a", "b"], "dry_run": false}),
        ),
        (
            "vault copy add main offsite --url s3://bucket/prefix",
            "POST /v1/vaults/main/copies",
            json!({"name": "offsite", "url": "s3://bucket/prefix"}),
        ),
        ("vault copy sync main offsite", "POST /v1/vaults/main/copies/offsite/sync", json!(null)),
    ] {
        let site = ScriptedSite::new(|_| Answer::ok(&succeeded()));
        let run = run(site.directory(), &[words(line), vec!["--no-wait"]].concat());
        assert_eq!(run.exit, Some(0), "{line}: {}", run.stderr);
        assert_eq!(site.body(request), body, "{line}");
    }
}

#[test]
fn an_unfit_store_is_told_by_the_exit_code() {
    for (is_fit, exit) in [(true, 0), (false, 8)] {
        let check = CheckView {
            name: "create if absent".into(),
            status: if is_fit { CheckStatus::Ok } else { CheckStatus::Failed },
            detail: "it is so".into(),
            hint: Some("two writers".into()),
        };
        let probe =
            ProbeView { url: "file:///srv/v".into(), is_fit, checks: vec![check], clock_skew_us: None };
        let site = ScriptedSite::new(move |_| Answer::ok(&probe));
        let run = run(site.directory(), &["vault", "doctor", "/srv/v"]);
        assert_eq!(run.exit, Some(exit), "{}", run.stderr);
        assert!(run.stdout.contains("create if absent"), "{}", run.stdout);
        assert_eq!(site.body("POST /v1/stores/probe"), json!({"store": "file:///srv/v"}));
    }
}

#[test]
fn points_are_deleted_by_their_ids_after_a_look() {
    let site = ScriptedSite::new(|_| Answer::ok(&vec![PointView { deleted_at: Some(moment()), ..point() }]));
    let run = run(site.directory(), &["point", "delete", "point:web-1/latest"]);
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("deleted"), "{}", run.stdout);
    let asked: Vec<serde_json::Value> =
        site.requests().iter().map(|request| serde_json::from_str(&request.body).unwrap()).collect();
    let by_id = format!("point:{}/{}", point().vm_id, point().id);
    assert_eq!(
        asked,
        [
            json!({"references": ["point:web-1/latest"], "dry_run": true}),
            json!({"references": [by_id], "dry_run": false}),
        ]
    );
}

#[test]
fn dry_runs_only_look() {
    let site = ScriptedSite::new(|line| match line {
        "GET /v1/vaults/main/keys" => Answer::ok(&vec![slot()]),
        "GET /v1/vaults/main/copies" => Answer::ok(&Vec::<CopyView>::new()),
        "PUT /v1/vaults/main/settings" => Answer::ok(&settings()),
        _ => Answer::ok(&vec![point()]),
    });
    for line in [
        "point delete point:web-1/latest --dry-run",
        "vault key remove main 3f9a --dry-run",
        "vault copy remove main offsite --dry-run",
        "vault immutability set main --mode locked --dry-run",
    ] {
        let run = run(site.directory(), &words(line));
        assert_eq!(run.exit, Some(0), "{line}: {}", run.stderr);
        assert!(
            run.stderr.contains("nothing was changed") || run.stderr.contains("would be"),
            "{}",
            run.stderr
        );
    }
    let changes = site.requests().into_iter().filter(|request| !request.line.starts_with("GET "));
    for request in changes {
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["dry_run"], true, "{request:?}");
    }
}

#[test]
fn a_lock_is_for_good_and_needs_a_yes() {
    let site = ScriptedSite::new(|line| match line {
        line if line.starts_with("PUT") => Answer::ok(&settings()),
        _ => Answer::ok(&vault()),
    });
    let arguments = ["vault", "immutability", "set", "main", "--mode", "locked"];
    let refused = run(site.directory(), &arguments);
    assert_eq!(refused.exit, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert!(site.requests().iter().all(|request| request.line.starts_with("GET ")));
    let done = run(site.directory(), &[&arguments[..], &["--yes"]].concat());
    assert_eq!(done.exit, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("locked for good"), "{}", done.stdout);
    assert_eq!(site.body("PUT /v1/vaults/main/settings")["immutability"], "locked");
}

#[test]
fn a_new_key_goes_into_its_file_and_nowhere_else() {
    let added = || AddedKey { slot: slot(), key_file: Some("holdfast-key-1-secret\n".into()) };
    let site = ScriptedSite::new(move |_| Answer::ok(&added()));
    let file = site.directory().join("new.key");
    let path = file.to_str().unwrap();
    let arguments = ["vault", "key", "add", "main", "--save-key", path, "--label", "usb stick", "-o", "json"];
    let added = run(site.directory(), &arguments);
    assert_eq!(added.exit, Some(0), "{}", added.stderr);
    assert!(!added.stdout.contains("secret") && !added.stderr.contains("secret"), "{added:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "holdfast-key-1-secret\n");
    assert_eq!(site.body("POST /v1/vaults/main/keys"), json!({"label": "usb stick", "with": null}));
    let again = run(site.directory(), &arguments);
    assert_eq!(again.exit, Some(6), "{}", again.stderr);
    assert_eq!(site.requests().len(), 1, "no key comes to be that could not be saved");
}

#[test]
fn a_recovery_kit_is_printed_or_saved() {
    let kit = || RecoveryKitView { slot: slot(), page: "HOLDFAST RECOVERY KIT\n".into() };
    let site = ScriptedSite::new(move |_| Answer::ok(&kit()));
    let printed = run(site.directory(), &["vault", "key", "kit", "main"]);
    assert_eq!((printed.exit, printed.stdout.as_str()), (Some(0), "HOLDFAST RECOVERY KIT\n"));
    let file = site.directory().join("kit.txt");
    let saved = run(site.directory(), &["vault", "key", "kit", "main", "--save", file.to_str().unwrap()]);
    assert_eq!(saved.exit, Some(0), "{}", saved.stderr);
    assert!(!saved.stdout.contains("KIT"), "{}", saved.stdout);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "HOLDFAST RECOVERY KIT\n");
}

#[test]
fn how_far_a_copy_is_behind_is_shown_with_its_vault() {
    let copy = CopyView {
        vault: "main".into(),
        name: "offsite".into(),
        url: "s3://bucket/prefix".into(),
        state: CopyState::Failing,
        added_at: moment(),
        last_synced_at: None,
        points_behind: Some(3),
        behind_since: Some(moment()),
        problem: Some("no such bucket".into()),
        object_lock: None,
    };
    let copies = vec![copy.clone()];
    let site = ScriptedSite::new(move |line| match line {
        "GET /v1/vaults/main" => Answer::ok(&VaultView { copies: copies.clone(), ..vault() }),
        _ => Answer::ok(&copies),
    });
    for arguments in [["vault", "show", "main"].as_slice(), &["vault", "copy", "list", "main"]] {
        let run = run(site.directory(), arguments);
        assert!(
            run.stdout.contains("FAILING: 3 points behind") && run.stdout.contains("no such bucket"),
            "{run:?}"
        );
    }
    let quiet = run(site.directory(), &["vault", "copy", "list", "main", "-q"]);
    assert_eq!(quiet.stdout, "main/offsite\n");
}
