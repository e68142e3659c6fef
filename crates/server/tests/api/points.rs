use api::Code;

use crate::site::{TestSite, code, into_vault, pattern, problem};

#[tokio::test]
async fn points_of_all_vaults_are_listed_oldest_first() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let first = site.backup("db").await;
    site.create_vault("second").await;
    site.client.protect("db", &into_vault("second")).await.unwrap();
    let second = site.backup("db").await;
    assert_eq!(second.parent, None, "another vault has nothing to start from");
    let all = site.client.points(None, false).await.unwrap();
    let found: Vec<_> = all.iter().map(|point| (point.id, point.vault.as_str())).collect();
    assert_eq!(found, [(first.id, "main"), (second.id, "second")]);
    assert_eq!(site.client.points(Some("nobody"), false).await.unwrap(), []);
}

#[tokio::test]
async fn one_broken_vault_does_not_hide_the_others() {
    let site = TestSite::start().await;
    site.create_vault("broken").await;
    site.protected_guest("db").await;
    let point = site.backup("db").await;
    let site = site.restart().await;
    std::fs::remove_dir_all(site.path("vaults/broken")).unwrap();
    assert_eq!(site.client.points(None, false).await.unwrap().len(), 1);
    assert_eq!(site.client.point("point:db/latest").await.unwrap().id, point.id);
    let missing = problem(site.client.point("point:other/latest").await);
    assert_eq!(missing.code, Code::NoVault, "it may have been there: {}", missing.detail);
    let vaults = site.client.vaults().await.unwrap();
    assert!(vaults[0].problem.is_some() && vaults[1].problem.is_none());
}

#[tokio::test]
async fn references_are_checked() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    assert_eq!(code(site.client.point("db/latest").await), Code::Invalid);
    assert_eq!(code(site.client.point("point:db/latest").await), Code::NotFound);
    let point = site.backup("db").await;
    assert_eq!(code(site.client.point("point:db/1969-01-01T00:00:00Z").await), Code::NotFound);
    assert_eq!(site.client.point(&format!("point:{}/{}", point.vm_id, point.id)).await.unwrap().id, point.id);
}

#[tokio::test]
async fn a_vm_that_takes_over_a_name_does_not_take_over_the_points() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let old = site.backup("db").await;
    site.client.remove_vm("db").await.unwrap();
    site.hypervisor.add_guest(&site.path("anew"), "db", pattern(2));
    site.client.add_vm(&site.external("anew")).await.unwrap();
    site.client.protect("db", &into_vault("main")).await.unwrap();
    assert_eq!(site.client.vm("db").await.unwrap().latest_point, None);
    let new = site.backup("db").await;
    assert_eq!(new.parent, None);
    let found: Vec<_> =
        site.client.points(Some("db"), false).await.unwrap().iter().map(|point| point.id).collect();
    assert_eq!(found, [old.id, new.id], "both are found by the name");
    assert_eq!(site.client.points(Some(old.vm_id.as_str()), false).await.unwrap().len(), 1);
}
