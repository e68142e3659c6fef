use model::Timestamp;
use proptest::{
    prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest},
    sample::select,
};

use super::Schedule;
use crate::Zone;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next runs, in the zone's own words: `2026-03-29T03:00+02:00`.
fn runs(text: &str, zone: &Zone, after: &str, count: usize) -> Vec<String> {
    let (schedule, mut moment) = (schedule(text), at(after));
    let mut next = || {
        moment = schedule.next_after(moment, zone).unwrap();
        zone.civil(moment).strftime("%Y-%m-%dT%H:%M%:z").to_string()
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn every_form_means_what_it_says() {
    let after = "2026-01-01T10:07:00Z"; // a Thursday
    for (text, first, second) in [
        ("hourly", "2026-01-01T11:00", "2026-01-01T12:00"),
        ("daily", "2026-01-02T00:00", "2026-01-03T00:00"),
        ("weekly", "2026-01-05T00:00", "2026-01-12T00:00"),
        ("monthly", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("quarterly", "2026-04-01T00:00", "2026-07-01T00:00"),
        ("yearly", "2027-01-01T00:00", "2028-01-01T00:00"),
        ("21:00", "2026-01-01T21:00", "2026-01-02T21:00"),
        ("*:0/15", "2026-01-01T10:15", "2026-01-01T10:30"),
        ("8..18/4:30", "2026-01-01T12:30", "2026-01-01T16:30"),
        ("Mon..Fri 21:00:00", "2026-01-01T21:00", "2026-01-02T21:00"),
        ("fri..mon", "2026-01-02T00:00", "2026-01-03T00:00"),
        ("sat,wednesday 04:00", "2026-01-03T04:00", "2026-01-07T04:00"),
        ("*-*-01 03:00", "2026-02-01T03:00", "2026-03-01T03:00"),
        ("12-24", "2026-12-24T00:00", "2027-12-24T00:00"),
        ("fri *-*-13 00:00", "2026-02-13T00:00", "2026-03-13T00:00"),
        ("every 15m", "2026-01-01T10:15", "2026-01-01T10:30"),
        ("every 4h", "2026-01-01T12:00", "2026-01-01T16:00"),
        ("0 21 * * 1-5", "2026-01-01T21:00", "2026-01-02T21:00"),
        ("0 0 13 * fri", "2026-01-02T00:00", "2026-01-09T00:00"),
        ("0 3 * * sun#1", "2026-01-04T03:00", "2026-02-01T03:00"),
        ("0 3 L * *", "2026-01-31T03:00", "2026-02-28T03:00"),
    ] {
        let utc = [first, second].map(|run| format!("{run}+00:00"));
        assert_eq!(runs(text, &Zone::utc(), after, 2), utc, "{text}");
        assert_eq!(schedule(text).to_string(), text);
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_its_reason() {
    for (text, reason) in [
        ("", "empty"),
        ("whenever", "no weekday"),
        ("mon mon", "twice"),
        ("2026-01-01 03:00", "no year"),
        ("25:00", "not a schedule"),
        ("21:00:30", "to the minute"),
        ("7", "no time"),
        ("every 5", "m, h or d"),
        ("every 0m", "1m to 366d"),
        ("every 99999999999999999999d", "1m to 366d"),
        ("every -5m", "m, h or d"),
        ("02-30", "no such date"),
        ("* * * * * *", "not a schedule"),
        ("61 * * * *", "not a schedule"),
        (&"1,".repeat(200), "longer"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("every 4h"), "{text}: {error}");
    }
}

#[test]
fn a_run_in_a_missing_or_a_doubled_hour_happens_once() {
    let berlin = zone("Europe/Berlin");
    for text in ["02:30", "30 2 * * *"] {
        let spring = ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"];
        assert_eq!(runs(text, &berlin, "2026-03-27T12:00:00Z", 3), spring);
        let autumn = ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"];
        assert_eq!(runs(text, &berlin, "2026-10-23T12:00:00Z", 3), autumn);
    }
    // Midnight is what is missing in Cairo.
    let spring = ["2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"];
    assert_eq!(runs("daily", &zone("Africa/Cairo"), "2026-04-23T12:00:00Z", 2), spring);
}

#[test]
fn an_interval_goes_on_through_both() {
    let berlin = zone("Europe/Berlin");
    for text in ["every 1h", "hourly"] {
        let spring = ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"];
        assert_eq!(runs(text, &berlin, "2026-03-28T23:30:00Z", 2), spring, "{text}");
        let autumn = ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"];
        assert_eq!(runs(text, &berlin, "2026-10-24T23:30:00Z", 3), autumn, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// On each day exactly one run, whatever the clock does, in zones of both hemispheres and of half an hour.
    #[test]
    fn a_daily_run_is_once_a_day(
        hour in 0u32..24, minute in 0u32..60, start_hours in 490_000i64..520_000,
        name in select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo"]),
    ) {
        let (schedule, zone) = (schedule(&format!("{hour}:{minute:02}")), zone(name));
        let mut moment = Timestamp::from_microseconds(start_hours * 3_600_000_000);
        moment = schedule.next_after(moment, &zone).unwrap();
        let mut day = zone.civil(moment).date();
        for _ in 0..400 {
            moment = schedule.next_after(moment, &zone).unwrap();
            let next = zone.civil(moment).date();
            prop_assert_eq!(day.tomorrow().unwrap(), next);
            day = next;
        }
    }

    /// What is next does not depend on when one asks, and asking never skips a run.
    #[test]
    fn the_next_run_is_the_same_until_it_is_due(
        start_minutes in 29_000_000i64..31_000_000, part in 0u32..1000,
        text in select(vec!["hourly", "every 90m", "mon..fri 21:00", "*/20 1-3 * * *", "*-*-01 02:30"]),
    ) {
        let (schedule, zone) = (schedule(text), zone("Europe/Berlin"));
        let start = Timestamp::from_microseconds(start_minutes * 60_000_000);
        let next = schedule.next_after(start, &zone).unwrap();
        let wait_us = next.microseconds_since(start);
        prop_assert!(wait_us > 0);
        let between = Timestamp::from_microseconds(start.as_microseconds() + wait_us / 1000 * i64::from(part));
        prop_assert_eq!(schedule.next_after(between, &zone), Some(next));
    }

    #[test]
    fn no_text_and_no_moment_is_a_panic(text in "[ -~]{0,30}", words in "(mon|fri|\\*|every|[0-9]|-|:|/|\\.\\.|,| ){0,12}", moment in any::<i64>()) {
        for text in [text, words] {
            if let Ok(schedule) = text.parse::<Schedule>() {
                let moment = Timestamp::from_microseconds(moment);
                prop_assert!(schedule.next_after(moment, &zone("Europe/Berlin")).is_none_or(|next| next > moment));
            }
        }
    }
}
