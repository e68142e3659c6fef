use std::sync::atomic::Ordering;

use api::{AttachVault, Code, CreateVault, UnlockWith, VerifyRequest};
use vault::{KeptKey, KeyFile, MasterKey};

use crate::site::{TestSite, code, key_file};

fn attach(name: &str, url: &str, text: String) -> AttachVault {
    AttachVault {
        name: name.to_owned(),
        url: url.to_owned(),
        unlock_with: UnlockWith::KeyFile(text),
        write_only: false,
    }
}

fn other_key_file() -> String {
    KeyFile::generate(&env::SeededEntropy::new(2)).to_text()
}

#[tokio::test]
async fn a_vault_without_a_key_of_the_user_s_gets_one() {
    let site = TestSite::start().await;
    let request = CreateVault { name: "main".to_owned(), url: None, unlock_with: None };
    let created = site.client.create_vault(&request).await.unwrap();
    let text = created.key_file.unwrap();
    let kept = site.path(&format!("keys/{}.key-file", created.vault.id));
    assert_eq!(std::fs::read_to_string(kept).unwrap(), text);
    assert_eq!(created.vault.problem, None);

    let other = TestSite::start().await;
    let attached = other.client.attach_vault(&attach("copy", &created.vault.url, text)).await.unwrap();
    assert_eq!((attached.id, attached.problem), (created.vault.id, None));
}

#[tokio::test]
async fn a_passphrase_opens_the_vault_that_it_made() {
    let site = TestSite::start().await;
    let unlock_with = UnlockWith::Passphrase("correct horse".to_owned());
    let request = CreateVault { name: "main".to_owned(), url: None, unlock_with: Some(unlock_with.clone()) };
    let created = site.client.create_vault(&request).await.unwrap();
    assert_eq!(created.key_file, None);
    let other = TestSite::start().await;
    let request =
        AttachVault { name: "main".to_owned(), url: created.vault.url, unlock_with, write_only: false };
    assert_eq!(other.client.attach_vault(&request).await.unwrap().id, created.vault.id);
}

#[tokio::test]
async fn a_wrong_key_attaches_nothing() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let url = site.client.vault("main").await.unwrap().url;
    let other = TestSite::start().await;
    assert_eq!(
        code(other.client.attach_vault(&attach("main", &url, other_key_file())).await),
        Code::WrongKey
    );
    assert_eq!(
        code(other.client.attach_vault(&attach("main", &url, "no key".to_owned())).await),
        Code::Invalid
    );
    let nowhere = format!("file://{}", other.path("nowhere").display());
    assert_eq!(code(other.client.attach_vault(&attach("main", &nowhere, key_file())).await), Code::NoVault);
    assert_eq!(other.client.vaults().await.unwrap(), []);
}

#[tokio::test]
async fn a_stored_key_that_no_longer_fits_is_told_before_any_work() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    let vault = site.client.vault("main").await.unwrap();
    let stranger = KeptKey::Master(MasterKey::from_bytes([7; 32])).to_text();
    std::fs::write(site.path(&format!("keys/{}.key", vault.id)), stranger).unwrap();
    let captures = site.hypervisor.captures.load(Ordering::Relaxed);

    let problem = site.failure(&site.submit_backup("db").await).await;
    assert_eq!(problem.code, Code::WrongKey);
    assert!(problem.hint.unwrap().contains("vault attach main"));
    let verify = site.client.verify_vault("main", &VerifyRequest::default()).await.unwrap();
    assert_eq!(site.failure(&verify).await.code, Code::WrongKey);
    assert_eq!(site.hypervisor.captures.load(Ordering::Relaxed), captures);
    assert!(site.client.vault("main").await.unwrap().problem.is_some());
    assert_eq!(code(site.client.points(Some("db"), false).await), Code::WrongKey);
    assert_eq!(code(site.client.point("point:db/latest").await), Code::WrongKey);

    site.client.attach_vault(&attach("main", &vault.url, key_file())).await.unwrap();
    site.backup("db").await;
}

#[tokio::test]
async fn a_vault_that_is_gone_is_told_before_any_work() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    let moved = site.path("moved");
    std::fs::rename(site.path("vaults/main"), &moved).unwrap();
    assert_eq!(site.failure(&site.submit_backup("db").await).await.code, Code::NoVault);
    assert_eq!(site.hypervisor.captures.load(Ordering::Relaxed), 1);

    let url = format!("file://{}", moved.display());
    site.client.attach_vault(&attach("main", &url, key_file())).await.unwrap();
    assert!(site.backup("db").await.parent.is_some());
}

#[tokio::test]
async fn names_and_places_of_vaults_are_taken_once() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let create =
        |name: &str, url: Option<String>| CreateVault { name: name.to_owned(), url, unlock_with: None };
    assert_eq!(code(site.client.create_vault(&create("main", None)).await), Code::Conflict);
    let url = site.client.vault("main").await.unwrap().url;
    assert_eq!(code(site.client.create_vault(&create("second", Some(url.clone()))).await), Code::Conflict);
    assert_eq!(code(site.client.attach_vault(&attach("second", &url, key_file())).await), Code::Conflict);
    for name in ["", "a/b", "..", "."] {
        assert_eq!(code(site.client.create_vault(&create(name, None)).await), Code::Invalid, "{name:?}");
    }
    for url in ["", "ftp://x/y", "file://elsewhere/x", "s3:///x"] {
        let answer = site.client.create_vault(&create("other", Some(url.to_owned()))).await;
        assert_eq!(code(answer), Code::Invalid, "{url:?}");
    }
    assert_eq!(site.client.vaults().await.unwrap().len(), 1);
    assert_eq!(code(site.client.vault("other").await), Code::NotFound);
}
