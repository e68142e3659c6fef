use model::{PlanRunId, Timestamp};
use policy::Zone;

use super::{DrillSchedule, KnownDrill};
use crate::{Catalog, ErrorKind};

fn at(microseconds: i64) -> Timestamp {
    Timestamp::from_microseconds(microseconds)
}

#[tokio::test]
async fn when_plans_are_drilled_is_kept_as_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&directory.path().join("catalog.db")).await.unwrap();
    let mut weekly = DrillSchedule {
        plan: "shop".parse().unwrap(),
        schedule: "sat 03:00".parse().unwrap(),
        zone: Zone::utc(),
        scheduled_at: at(7),
        point: "latest".to_owned(),
        grace_hours: 24,
        jitter_seconds: 60,
        keep_reports: 52,
        last_run_at: None,
        put_off: None,
    };
    catalog.put_drill_schedule(&weekly).await.unwrap();
    catalog.note_drill_run(&weekly.plan, None, Some("it is run otherwise")).await.unwrap();
    weekly.put_off = Some("it is run otherwise".to_owned());
    assert_eq!(catalog.drill_schedules().await.unwrap(), std::slice::from_ref(&weekly));
    catalog.note_drill_run(&weekly.plan, Some(at(9)), None).await.unwrap();
    (weekly.last_run_at, weekly.put_off) = (Some(at(9)), None);
    assert_eq!(catalog.drill_schedules().await.unwrap(), std::slice::from_ref(&weekly));
    catalog.note_drill_run(&weekly.plan, None, Some("again")).await.unwrap();
    assert_eq!(catalog.drill_schedules().await.unwrap()[0].last_run_at, Some(at(9)), "that stays");
    weekly.grace_hours = 1;
    catalog.put_drill_schedule(&weekly).await.unwrap();
    assert_eq!(catalog.drill_schedules().await.unwrap(), std::slice::from_ref(&weekly));
    catalog.remove_drill_schedule(&weekly.plan).await.unwrap();
    let again = catalog.remove_drill_schedule(&weekly.plan).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn drills_are_kept_newest_first_until_they_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&directory.path().join("catalog.db")).await.unwrap();
    let drill = |number: u8, plan: &str| KnownDrill {
        run_id: PlanRunId::from_random([number; 10]),
        plan: plan.parse().unwrap(),
        begun_at: at(i64::from(number)),
        ended_at: at(100),
        verdict: "failed".to_owned(),
    };
    let (first, second, other) = (drill(1, "shop"), drill(2, "shop"), drill(3, "mail"));
    for drill in [&first, &second, &other] {
        catalog.put_drill(drill, "{}").await.unwrap();
    }
    let mended = KnownDrill { verdict: "passed".to_owned(), ..first.clone() };
    catalog.put_drill(&mended, "{\"a\":1}").await.unwrap();
    assert_eq!(catalog.drills_of("shop").await.unwrap(), [second.clone(), mended]);
    assert_eq!(catalog.drill_report(first.run_id).await.unwrap().as_deref(), Some("{\"a\":1}"));
    let names: Vec<_> = catalog.drilled_plans().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["mail", "shop"]);
    catalog.remove_drill(second.run_id).await.unwrap();
    catalog.remove_drill(second.run_id).await.unwrap();
    assert_eq!(catalog.drills_of("shop").await.unwrap().len(), 1);
    assert_eq!(catalog.drill_report(second.run_id).await.unwrap(), None);
}
