use std::time::Duration;

use env::Env;
use jiff::{civil::time, tz::TimeZone};
use model::Timestamp;
use tokio::time::Instant;

use super::{Bandwidth, BandwidthWindow, bandwidth::Throttle};

#[test]
fn the_time_of_day_sets_the_bandwidth() {
    let bandwidth = Bandwidth {
        bytes_per_second: Some(10),
        windows: vec![
            BandwidthWindow { from: time(22, 0, 0, 0), until: time(6, 0, 0, 0), bytes_per_second: None },
            BandwidthWindow { from: time(12, 0, 0, 0), until: time(13, 0, 0, 0), bytes_per_second: Some(5) },
        ],
        zone: TimeZone::get("Asia/Seoul").unwrap(),
    };
    let at = |utc: &str| bandwidth.at(utc.parse::<Timestamp>().unwrap());
    assert_eq!(at("2026-03-01T12:59:59Z"), Some(10), "21:59:59 in Seoul");
    assert_eq!(at("2026-03-01T13:00:00Z"), None);
    assert_eq!(at("2026-03-01T20:59:59Z"), None);
    assert_eq!(at("2026-03-01T21:00:00Z"), Some(10));
    assert_eq!(at("2026-03-01T03:30:00Z"), Some(5));
    assert_eq!(Bandwidth::unlimited().at(Timestamp::default()), None);
}

#[tokio::test]
async fn bytes_pass_one_after_the_other_and_idle_time_is_not_saved_up() {
    let throttle = Throttle::new(Bandwidth::unlimited(), Env::system());
    let now = Instant::now();
    assert_eq!(throttle.reserve(now, 1000, 1000), Duration::ZERO);
    assert_eq!(throttle.reserve(now, 500, 1000), Duration::from_secs(1));
    assert_eq!(throttle.reserve(now, 1, 1000), Duration::from_millis(1500));
    let later = now + Duration::from_secs(60);
    assert_eq!(throttle.reserve(later, 1000, 1000), Duration::ZERO);
    assert_eq!(throttle.reserve(later, 1000, 1000), Duration::from_secs(1));
}
