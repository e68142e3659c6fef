use api::{
    ChangeSettings, ChosenPoints, Code, CollectRequest, CollectView, DeletePoints, HoldPoints, JobResult,
    PointView, RestoreDiskRequest,
};
use model::Immutability;

use crate::site::{TestSite, code, problem};

fn reference(point: &PointView) -> String {
    format!("point:{}/{}", point.vm_id, point.id)
}

fn deletion(point: &PointView) -> DeletePoints {
    DeletePoints { references: vec![reference(point)], dry_run: false }
}

fn chosen(point: &PointView) -> ChosenPoints {
    ChosenPoints { references: vec![reference(point)] }
}

async fn collect(site: &TestSite, dry_run: bool) -> CollectView {
    let request = CollectRequest { dry_run, grace_hours: Some(0), ..CollectRequest::default() };
    let ended = site.end(&site.client.collect("main", &request).await.unwrap()).await;
    match ended.result {
        Some(JobResult::Collected(view)) => view,
        other => panic!("no collection but {other:?}, {:?}", ended.problem),
    }
}

#[tokio::test]
async fn a_deleted_point_is_out_of_sight_and_can_be_brought_back() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let point = site.backup("db").await;
    let dry_run = DeletePoints { dry_run: true, ..deletion(&point) };
    assert_eq!(site.client.delete_points(&dry_run).await.unwrap()[0].id, point.id);
    assert_eq!(site.client.points(None, false).await.unwrap().len(), 1, "nothing was deleted");

    let deleted = site.client.delete_points(&deletion(&point)).await.unwrap();
    assert!(deleted[0].deleted_at < deleted[0].purge_after, "{deleted:?}");
    assert_eq!(site.client.points(None, false).await.unwrap(), []);
    assert_eq!(site.client.points(Some("db"), true).await.unwrap(), deleted);
    let shown = site.client.point(&reference(&point)).await.unwrap();
    assert_eq!((shown.deleted_at, shown.definition.is_some()), (deleted[0].deleted_at, true));
    assert_eq!(code(site.client.delete_points(&deletion(&point)).await), Code::NotFound);
    let restore = RestoreDiskRequest {
        reference: reference(&point),
        from_copy: None,
        path: site.path("disk").display().to_string(),
        format: None,
        replace: false,
        no_safety_point: false,
        dry_run: false,
        stop: false,
        force: false,
    };
    let refused = problem(site.client.restore_disk(&restore).await);
    assert_eq!(refused.code, Code::Conflict, "{refused:?}");
    assert!(refused.hint.unwrap().contains("holdfast point undelete"));

    let back = site.client.undelete_points(&chosen(&point)).await.unwrap();
    assert_eq!((back[0].id, back[0].deleted_at), (point.id, None));
    assert_eq!(site.client.points(None, false).await.unwrap().len(), 1);
    assert_eq!(code(site.client.undelete_points(&chosen(&point)).await), Code::NotFound);
}

#[tokio::test]
async fn a_held_point_is_not_deleted_by_anybody() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let point = site.backup("db").await;
    let hold = |reason: &str| HoldPoints { references: vec![reference(&point)], reason: reason.to_owned() };
    assert_eq!(code(site.client.hold_points(&hold(" ")).await), Code::Invalid);
    assert_eq!(code(site.client.release_points(&chosen(&point)).await), Code::Refused);
    let held = site.client.hold_points(&hold("case 17")).await.unwrap();
    assert_eq!(held[0].hold.as_deref(), Some("case 17"));
    for dry_run in [true, false] {
        let request = DeletePoints { dry_run, ..deletion(&point) };
        let refused = problem(site.client.delete_points(&request).await);
        assert_eq!((refused.code, refused.status), (Code::Refused, 409));
        assert!(refused.detail.contains("case 17"), "{}", refused.detail);
    }
    assert_eq!(site.client.release_points(&chosen(&point)).await.unwrap()[0].hold, None);
    site.client.delete_points(&deletion(&point)).await.unwrap();
}

#[tokio::test]
async fn of_several_points_all_are_changed_or_none() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let (first, second) = (site.backup("db").await, site.backup("db").await);
    let both = |other: String| DeletePoints { references: vec![reference(&first), other], dry_run: false };
    assert_eq!(code(site.client.delete_points(&both("point:db/zz".into())).await), Code::NotFound);
    assert_eq!(code(site.client.delete_points(&both("db".into())).await), Code::Invalid);
    let disk = format!("{}/root", reference(&second));
    assert_eq!(code(site.client.delete_points(&both(disk)).await), Code::Invalid);
    let none = DeletePoints { references: Vec::new(), dry_run: false };
    assert_eq!(code(site.client.delete_points(&none).await), Code::Invalid);
    let held = HoldPoints { references: vec![reference(&second)], reason: "case".into() };
    site.client.hold_points(&held).await.unwrap();
    assert_eq!(code(site.client.delete_points(&both(reference(&second))).await), Code::Refused);
    assert_eq!(site.client.points(None, false).await.unwrap().len(), 2);

    let twice = both(reference(&first));
    assert_eq!(site.client.delete_points(&twice).await.unwrap().len(), 1, "named twice, deleted once");
}

#[tokio::test]
async fn a_locked_vault_is_only_made_stricter() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let point = site.backup("db").await;
    let strict = ChangeSettings {
        immutability: Some(Immutability::Locked),
        min_retention_days: Some(30),
        ..ChangeSettings::default()
    };
    let before = site.client.settings("main").await.unwrap();
    let dry_run = ChangeSettings { dry_run: true, ..strict };
    assert_eq!(site.client.change_settings("main", &dry_run).await.unwrap().min_retention_days, 30);
    assert_eq!(site.client.settings("main").await.unwrap(), before);

    let locked = site.client.change_settings("main", &strict).await.unwrap();
    assert_eq!(locked.soft_delete_days, before.soft_delete_days, "what is left out stays");
    assert_eq!(site.client.vault("main").await.unwrap().settings, Some(locked));
    assert!(site.client.point(&reference(&point)).await.unwrap().deletable_from > Some(point.captured_at));
    assert_eq!(code(site.client.delete_points(&deletion(&point)).await), Code::Refused);
    for weaker in [
        ChangeSettings { immutability: Some(Immutability::Enabled), ..ChangeSettings::default() },
        ChangeSettings { min_retention_days: Some(29), ..ChangeSettings::default() },
        ChangeSettings { soft_delete_days: Some(0), dry_run: true, ..ChangeSettings::default() },
    ] {
        assert_eq!(code(site.client.change_settings("main", &weaker).await), Code::Refused, "{weaker:?}");
    }
    let stricter = ChangeSettings { min_retention_days: Some(31), ..ChangeSettings::default() };
    site.client.change_settings("main", &stricter).await.unwrap();
}

#[tokio::test]
async fn collection_gives_back_what_deleted_points_took() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let at_once = ChangeSettings { soft_delete_days: Some(0), ..ChangeSettings::default() };
    site.client.change_settings("main", &at_once).await.unwrap();
    let old = site.backup("db").await;
    site.hypervisor.write(&site.path("db"), 0, &vec![9; crate::site::DISK_SIZE_BYTES]);
    let new = site.backup("db").await;
    site.client.delete_points(&deletion(&old)).await.unwrap();
    let stored = site.client.vault("main").await.unwrap().stored_bytes;

    let plan = collect(&site, true).await;
    assert_eq!((plan.dry_run, plan.purged_point_count), (true, 1));
    assert_eq!(site.client.vault("main").await.unwrap().stored_bytes, stored);
    let done = collect(&site, false).await;
    assert_eq!((done.dry_run, done.purged_point_count), (false, 1));
    assert!(done.freed_bytes.0 > 0, "{done:?}");
    assert!(site.client.vault("main").await.unwrap().stored_bytes < stored);
    assert_eq!(code(site.client.undelete_points(&chosen(&old)).await), Code::NotFound);
    let points = site.client.points(None, true).await.unwrap();
    assert_eq!(points.iter().map(|point| point.id).collect::<Vec<_>>(), [new.id]);
    assert_eq!(collect(&site, false).await.purged_point_count, 0, "nothing is left to do");
}
