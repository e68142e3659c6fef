use std::collections::BTreeSet;

use model::Timestamp;
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
};

use super::{Retention, Rule, keep};
use crate::Zone;

const HOUR_US: i64 = 3_600_000_000;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kept(moments: &[&str], rules: Retention, zone: &str) -> Vec<String> {
    let points: Vec<_> = moments.iter().enumerate().map(|(id, moment)| (id, at(moment))).collect();
    let now = points.iter().map(|point| point.1).max().unwrap();
    let verdicts = keep(&points, &rules, &zone.parse().unwrap(), now);
    let stay: BTreeSet<_> = verdicts.iter().filter(|verdict| verdict.stays()).map(|it| it.id).collect();
    stay.into_iter().map(|id| moments[id].to_owned()).collect()
}

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let moments = [
        "2024-06-01T12:00:00Z",
        "2025-12-28T12:00:00Z", // Sunday
        "2025-12-29T12:00:00Z", // Monday of 2026's first week
        "2026-01-01T08:00:00Z",
        "2026-01-01T08:30:00Z",
        "2026-01-01T09:00:00Z",
    ];
    let rules = Retention::default();
    for (rules, places) in [
        (rules, &[5][..]),
        (Retention { last: 2, ..rules }, &[4, 5]),
        (Retention { hourly: 2, ..rules }, &[4, 5]),
        (Retention { daily: 2, ..rules }, &[2, 5]),
        (Retention { weekly: 2, ..rules }, &[1, 5]),
        (Retention { monthly: 3, ..rules }, &[0, 2, 5]),
        (Retention { yearly: 9, ..rules }, &[0, 2, 5]),
        (Retention { within_hours: 1, ..rules }, &[3, 4, 5]),
        (Retention { daily: 1, monthly: 2, ..rules }, &[2, 5]),
    ] {
        let wanted: Vec<_> = places.iter().map(|&place| moments[place].to_owned()).collect();
        assert_eq!(kept(&moments, rules, "UTC"), wanted, "{rules:?}");
    }
}

#[test]
fn periods_are_those_of_the_clock_on_the_wall() {
    let daily = Retention { daily: 9, ..Retention::default() };
    let around_midnight = ["2026-01-01T22:30:00Z", "2026-01-01T23:30:00Z"];
    assert_eq!(kept(&around_midnight, daily, "UTC").len(), 1);
    assert_eq!(kept(&around_midnight, daily, "Europe/Berlin").len(), 2);
    let hourly = Retention { hourly: 9, ..Retention::default() };
    let doubled_hour = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"];
    assert_eq!(kept(&doubled_hour, hourly, "Europe/Berlin").len(), 2);
}

#[test]
fn a_point_tells_all_that_keeps_it() {
    let rules = Retention { last: 1, yearly: 1, within_hours: 1, ..Retention::default() };
    let now = at("2026-01-01T00:00:00Z");
    let verdicts = keep(&[(1, now), (2, now)], &rules, &Zone::utc(), now);
    assert_eq!((verdicts[0].id, verdicts[1].id), (2, 1), "newest first");
    assert_eq!(verdicts[0].kept_by, BTreeSet::from([Rule::Newest, Rule::Last, Rule::Yearly, Rule::Within]));
    assert_eq!(verdicts[1].kept_by, BTreeSet::from([Rule::Within]));
    assert!(keep::<u8>(&[], &rules, &Zone::utc(), now).is_empty());
}

#[test]
fn rules_cover_others_when_none_is_smaller() {
    let rules = Retention { last: 3, daily: 7, ..Retention::default() };
    assert!(rules.covers(&rules) && Retention { weekly: 1, ..rules }.covers(&rules));
    assert!(!Retention { last: 2, daily: 900, ..rules }.covers(&rules));
}

fn retention() -> impl Strategy<Value = Retention> {
    let count = || prop_oneof![2 => Just(0u32), 5 => 0u32..6, 1 => any::<u32>()];
    ((count(), count(), count(), count()), (count(), count(), count())).prop_map(
        |((last, hourly, daily, weekly), (monthly, yearly, within_hours))| Retention {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within_hours,
        },
    )
}

/// Some points around the turns of hours, days and clocks; ids in no order.
fn points() -> impl Strategy<Value = Vec<(u16, Timestamp)>> {
    let moment = prop_oneof![
        (490_000i64..491_000).prop_map(|halves| halves * HOUR_US / 2 + 490_000 * HOUR_US / 2),
        (480_000i64..500_000).prop_map(|hours| hours * HOUR_US),
    ];
    vec((any::<u16>(), moment.prop_map(Timestamp::from_microseconds)), 0..60).prop_map(|mut points| {
        points.sort_unstable();
        points.dedup_by_key(|point| point.0);
        points
    })
}

fn stay(points: &[(u16, Timestamp)], rules: &Retention) -> Vec<(u16, Timestamp)> {
    let now = Timestamp::from_microseconds(500_000 * HOUR_US);
    let zone = "Europe/Berlin".parse().unwrap();
    let verdicts = keep(points, rules, &zone, now);
    let stays = |id| verdicts.iter().any(|verdict| verdict.id == id && verdict.stays());
    points.iter().copied().filter(|point| stays(point.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_stays_stays_again(points in points(), rules in retention()) {
        let once = stay(&points, &rules);
        prop_assert_eq!(stay(&once, &rules), once);
    }

    #[test]
    fn larger_counts_never_drop_more(points in points(), rules in retention(), more in retention()) {
        let larger = Retention {
            last: rules.last.saturating_add(more.last),
            hourly: rules.hourly.saturating_add(more.hourly),
            daily: rules.daily.saturating_add(more.daily),
            weekly: rules.weekly.saturating_add(more.weekly),
            monthly: rules.monthly.saturating_add(more.monthly),
            yearly: rules.yearly.saturating_add(more.yearly),
            within_hours: rules.within_hours.saturating_add(more.within_hours),
        };
        prop_assert!(larger.covers(&rules));
        let few: BTreeSet<_> = stay(&points, &rules).into_iter().collect();
        let many: BTreeSet<_> = stay(&points, &larger).into_iter().collect();
        prop_assert!(few.is_subset(&many));
    }

    #[test]
    fn no_more_stay_than_the_rules_count(points in points(), rules in retention()) {
        let rules = Retention { within_hours: 0, ..rules };
        let sum: u64 = rules.numbers().iter().map(|&count| u64::from(count)).sum();
        let stays = stay(&points, &rules);
        prop_assert!(stays.len() as u64 <= sum.max(1));
        let newest = points.iter().max_by_key(|&&(id, moment)| (moment, id));
        prop_assert!(newest.is_none_or(|newest| stays.contains(newest)));
    }
}
