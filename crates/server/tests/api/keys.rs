use api::{
    AddKey, AttachVault, Code, MakeRecoveryKit, NewKeyWith, ProbeStore, RestoreDiskRequest, UnlockWith,
};
use model::JobState;

use crate::site::{TestSite, code, into_vault, key_file};

fn attach(url: &str, key: &str, write_only: bool) -> AttachVault {
    let unlock_with = UnlockWith::KeyFile(key.to_owned());
    AttachVault { name: "main".to_owned(), url: url.to_owned(), unlock_with, write_only }
}

fn labelled(label: &str) -> AddKey {
    AddKey { label: Some(label.to_owned()), with: None }
}

#[tokio::test]
async fn keys_come_and_go_and_the_last_one_stays() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let url = site.client.vault("main").await.unwrap().url;
    let first = site.client.keys("main").await.unwrap().remove(0);
    assert_eq!(first.kind.as_deref(), Some("key file"));
    let last = site.client.remove_key("main", &first.id).await;
    assert!(matches!(code(last), Code::Invalid | Code::Refused), "the last one stays");

    let added = site.client.add_key("main", &labelled("usb stick")).await.unwrap();
    let text = added.key_file.unwrap();
    let other = TestSite::start().await;
    other.client.attach_vault(&attach(&url, &text, false)).await.unwrap();

    let rotated = site.client.rotate_key("main", &added.slot.id[..12], &labelled("safe")).await.unwrap();
    let labels: Vec<_> = site.client.keys("main").await.unwrap().into_iter().map(|slot| slot.label).collect();
    assert_eq!(labels, ["", "safe"]);
    assert_eq!(
        code(TestSite::start().await.client.attach_vault(&attach(&url, &text, false)).await),
        Code::WrongKey
    );
    let new = rotated.key_file.unwrap();
    TestSite::start().await.client.attach_vault(&attach(&url, &new, false)).await.unwrap();

    site.client.remove_key("main", &first.id).await.unwrap();
    assert_eq!(site.client.keys("main").await.unwrap().len(), 1);
    assert_eq!(code(site.client.remove_key("main", "").await), Code::NotFound);
    assert_eq!(code(site.client.remove_key("main", &first.id).await), Code::NotFound);
    assert_eq!(code(site.client.add_key("main", &labelled(&"x".repeat(49))).await), Code::Invalid);
    let recipient = AddKey { label: None, with: Some(NewKeyWith::Recipient("nobody".to_owned())) };
    assert_eq!(code(site.client.add_key("main", &recipient).await), Code::Invalid);
}

#[tokio::test]
async fn a_recovery_kit_opens_the_vault_and_the_site_keeps_none_of_it() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let request = MakeRecoveryKit { place: Some("s3://bucket/prefix".to_owned()) };
    let kit = site.client.make_recovery_kit("main", &request).await.unwrap();
    assert!(kit.page.contains("s3://bucket/prefix") && kit.page.contains(&kit.slot.id), "{}", kit.page);
    assert!(kit.page.lines().all(|line| line.chars().count() <= 80));
    let kept = std::fs::read_dir(site.path("keys")).unwrap().count();
    assert_eq!(kept, 1, "the key that opens the vault unattended, and nothing else");
}

#[tokio::test]
async fn a_site_that_only_writes_backs_up_and_cannot_read() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let url = site.client.vault("main").await.unwrap().url;
    let host = TestSite::start().await;
    let attached = host.client.attach_vault(&attach(&url, &key_file(), true)).await.unwrap();
    assert_eq!((attached.problem, attached.can_read), (None, Some(false)));
    host.add_guest("db", crate::site::pattern(1)).await;
    host.client.protect("db", &into_vault("main")).await.unwrap();
    host.backup("db").await;
    let host = host.restart().await;
    assert!(host.backup("db").await.parent.is_some(), "an incremental, by the kept key");

    let restore = RestoreDiskRequest {
        reference: "point:db/latest".to_owned(),
        from_copy: None,
        path: host.path("disk").display().to_string(),
        format: None,
        replace: false,
        no_safety_point: false,
        dry_run: false,
        stop: false,
        force: false,
    };
    let refused = host.failure(&host.client.restore_disk(&restore).await.unwrap()).await;
    assert_eq!(refused.code, Code::WrongKey, "{refused:?}");
    assert_eq!(code(host.client.keys("main").await), Code::WrongKey);
    let restored = site.end(&site.client.restore_disk(&restore).await.unwrap()).await;
    assert_eq!(restored.state, JobState::Succeeded, "{:?}", restored.problem);
}

#[tokio::test]
async fn a_store_is_tried_out_before_it_is_trusted() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let url = format!("file://{}", site.path("elsewhere").display());
    for store in ["main", &url] {
        let probe = site.client.probe_store(&ProbeStore { store: store.to_owned() }).await.unwrap();
        assert!(probe.is_fit && !probe.checks.is_empty(), "{probe:?}");
    }
    let unknown = ProbeStore { store: "nowhere".to_owned() };
    assert_eq!(code(site.client.probe_store(&unknown).await), Code::NotFound);
    let nonsense = ProbeStore { store: "ftp://x/y".to_owned() };
    assert_eq!(code(site.client.probe_store(&nonsense).await), Code::Invalid);
}
