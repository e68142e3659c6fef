use serde_json::json;

use super::{boundaries_ns, percentile_us};

fn histogram(counts: &[(u64, u64)]) -> serde_json::Value {
    let boundaries = boundaries_ns();
    let mut bins = vec![0; boundaries.len() + 1];
    for &(latency_ns, count) in counts {
        bins[boundaries.partition_point(|&boundary| boundary <= latency_ns)] += count;
    }
    json!({"boundaries": boundaries, "bins": bins})
}

#[test]
fn the_percentile_is_the_upper_end_of_its_bin_within_a_tenth() {
    let p99 = |counts: &[(u64, u64)]| percentile_us(&[&histogram(counts)]).unwrap() as f64;
    let close = |found: f64, true_us: f64| {
        assert!(found >= true_us && found <= true_us * 1.11, "{found} for {true_us}")
    };
    close(p99(&[(1_000_000, 100)]), 1000.0);
    close(p99(&[(100_000, 990), (50_000_000, 10)]), 100.0);
    close(p99(&[(100_000, 989), (50_000_000, 11)]), 50_000.0);
    close(p99(&[(5_000_000, 1)]), 5000.0);
}

#[test]
fn disks_count_together_and_foreign_histograms_not_at_all() {
    let (fast, slow) = (histogram(&[(100_000, 50)]), histogram(&[(9_000_000, 50)]));
    assert!(percentile_us(&[&fast, &slow]).unwrap() >= 9000);
    let foreign = json!({"boundaries": [10, 20], "bins": [0, 0, 5]});
    assert_eq!(percentile_us(&[&foreign]), None);
    assert_eq!(percentile_us(&[]), None);
    assert_eq!(percentile_us(&[&json!({"boundaries": "?", "bins": null})]), None);
}
