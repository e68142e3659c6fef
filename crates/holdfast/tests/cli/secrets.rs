//! Passphrases and key files.

use std::{ffi::OsStr, os::unix::fs::PermissionsExt as _};

use api::{Code, CreatedVault, Problem};

use crate::{
    program::{Run, run, run_with},
    scripted::{Answer, ScriptedSite},
    views::vault,
};

const CREATE: &str = "POST /v1/vaults";

fn site(key_file: Option<&str>) -> ScriptedSite {
    let created = CreatedVault { vault: vault(), key_file: key_file.map(str::to_owned) };
    ScriptedSite::new(move |_| Answer::ok(&created))
}

fn shows(run: &Run, secret: &str) -> bool {
    run.stdout.contains(secret) || run.stderr.contains(secret)
}

#[test]
fn a_passphrase_comes_from_the_environment_a_file_or_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("passphrase");
    std::fs::write(&file, "open sesame\n").unwrap();
    for (variable, value) in [
        ("HOLDFAST_PASSWORD", OsStr::new("open sesame")),
        ("HOLDFAST_PASSWORD_FILE", file.as_os_str()),
        ("HOLDFAST_PASSWORD_COMMAND", OsStr::new("echo 'open sesame'")),
    ] {
        let site = site(None);
        let run =
            run_with(site.directory(), &["vault", "create", "main", "--passphrase"], &[(variable, value)]);
        assert_eq!(run.exit, Some(0), "{variable}: {}", run.stderr);
        assert_eq!(site.body(CREATE)["unlock_with"]["passphrase"], "open sesame", "{variable}");
        assert!(!shows(&run, "sesame"), "{variable}");
    }
}

#[test]
fn without_a_terminal_the_hint_names_the_other_ways() {
    let site = site(None);
    let run = run(site.directory(), &["vault", "create", "main", "--passphrase"]);
    assert_eq!(run.exit, Some(2));
    assert!(run.stderr.contains("hint: set HOLDFAST_PASSWORD_FILE"), "{}", run.stderr);
    assert!(site.requests().is_empty());
}

#[test]
fn a_failing_passphrase_command_stops_before_any_work() {
    let site = site(None);
    let arguments = ["vault", "create", "main", "--passphrase"];
    let run = run_with(
        site.directory(),
        &arguments,
        &[("HOLDFAST_PASSWORD_COMMAND", OsStr::new("echo half; exit 3"))],
    );
    assert_eq!(run.exit, Some(1));
    assert!(run.stderr.contains("HOLDFAST_PASSWORD_COMMAND failed: exit status: 3"), "{}", run.stderr);
    assert!(site.requests().is_empty());
}

#[test]
fn a_new_key_is_saved_for_its_owner_and_never_shown() {
    let site = site(Some("the key itself"));
    let path = site.directory().join("main.key");
    for output in ["table", "json"] {
        std::fs::remove_file(&path).ok();
        let arguments = ["vault", "create", "main", "--save-key", path.to_str().unwrap(), "--output", output];
        let run = run(site.directory(), &arguments);
        assert_eq!(run.exit, Some(0), "{}", run.stderr);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the key itself");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!shows(&run, "the key itself"));
        assert!(run.stderr.contains("nobody ever reads the vault"), "{}", run.stderr);
    }
}

#[test]
fn a_key_that_is_not_saved_is_warned_about() {
    let site = site(Some("the key itself"));
    let run = run(site.directory(), &["vault", "create", "main"]);
    let kept = site.directory().join(format!("keys/{}.key-file", vault().id));
    assert!(run.stderr.contains(&format!("the only one is {}", kept.display())), "{}", run.stderr);
    assert!(!shows(&run, "the key itself"));
}

#[test]
fn a_file_that_exists_is_kept_and_no_vault_is_made() {
    let site = site(Some("the key itself"));
    let path = site.directory().join("main.key");
    std::fs::write(&path, "another key").unwrap();
    let run = run(site.directory(), &["vault", "create", "main", "--save-key", path.to_str().unwrap()]);
    assert_eq!(run.exit, Some(6), "{}", run.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "another key");
    assert!(site.requests().is_empty());
}

#[test]
fn a_vault_that_is_not_made_leaves_no_key_file() {
    let site = ScriptedSite::new(|_| Answer::problem(&Problem::new(Code::Conflict, "main exists")));
    let path = site.directory().join("main.key");
    let run = run(site.directory(), &["vault", "create", "main", "--save-key", path.to_str().unwrap()]);
    assert_eq!(run.exit, Some(6));
    assert!(!path.exists());
}

#[test]
fn a_vault_is_attached_with_the_text_of_its_key_file() {
    let site = ScriptedSite::new(|_| Answer::ok(&vault()));
    let path = site.directory().join("main.key");
    std::fs::write(&path, "the key itself\n").unwrap();
    let arguments = ["vault", "attach", "main", "--url", "/mnt/nas", "--key-file", path.to_str().unwrap()];
    let run = run(site.directory(), &arguments);
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    let body = site.body("POST /v1/vaults/attach");
    assert_eq!(body["unlock_with"]["key_file"], "the key itself\n");
    assert_eq!(body["url"], "file:///mnt/nas");
}
