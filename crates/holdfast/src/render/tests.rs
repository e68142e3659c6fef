use jiff::tz::{TimeZone, offset};

use super::{Times, duration, percentage, printable, table};

fn times() -> Times {
    Times::at(TimeZone::fixed(offset(1)), "2026-03-01T13:05:10Z".parse().unwrap())
}

#[test]
fn moments_are_shown_by_the_clock_on_the_wall() {
    let shown = times().moment("2026-03-01T13:05:07.9Z".parse().unwrap());
    assert_eq!(shown, "2026-03-01 14:05:07 +01:00 (2 s ago)");
}

#[test]
fn ages_are_short() {
    for (moment, age) in [
        ("2026-03-01T13:05:11Z", "just now"),
        ("2026-03-01T13:05:10Z", "just now"),
        ("2026-03-01T13:04:11Z", "59 s ago"),
        ("2026-03-01T13:04:10Z", "1 min ago"),
        ("2026-02-28T13:05:10Z", "24 h ago"),
        ("2026-02-27T13:05:10Z", "2 days ago"),
        ("2026-01-30T13:05:10Z", "30 days ago"),
    ] {
        assert_eq!(times().age(moment.parse().unwrap()), age, "{moment}");
    }
}

#[test]
fn durations_have_two_or_three_digits() {
    for (microseconds, text) in [
        (0, "0 s"),
        (999, "999 µs"),
        (4_200, "4.2 ms"),
        (250_000, "250 ms"),
        (1_300_000, "1.3 s"),
        (61_000_000, "1 min 1 s"),
        (5_400_000_000, "1 h 30 min"),
    ] {
        assert_eq!(duration(microseconds), text);
    }
}

#[test]
fn a_guest_does_not_drive_the_terminal() {
    assert_eq!(printable("a\u{1b}[2Jb\r\u{9b}c\u{202e}d\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d\n");
    assert_eq!(printable("서울 \"db\""), "서울 \"db\"");
    let table = table::with_header(&["name"], vec![vec!["a\u{1b}]0;x\u{7}\nb".to_owned()]]);
    assert_eq!(table, "NAME\na\u{fffd}]0;x\u{fffd} b\n");
}

#[test]
fn columns_stay_under_their_titles_whatever_the_script() {
    let rows = [("서울", "1"), ("web-1", "2")].map(|(name, disks)| vec![name.to_owned(), disks.to_owned()]);
    assert_eq!(table::with_header(&["name", "disks"], rows.to_vec()), "NAME   DISKS\n서울   1\nweb-1  2\n");
}

#[test]
fn nothing_has_no_percentage() {
    assert_eq!(percentage(0, 0), None);
    assert_eq!(percentage(u64::MAX, u64::MAX), Some(100));
    assert_eq!(percentage(7, 4), Some(100), "more than expected is still all");
}
