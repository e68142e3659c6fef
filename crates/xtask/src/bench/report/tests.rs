use super::*;

fn only(measurement: Measurement) -> Value {
    let mut report = Report::default();
    report.extend([measurement]);
    serde_json::from_str::<Value>(&report.to_json().unwrap()).unwrap()[0].take()
}

#[test]
fn a_ratio_is_held_against_the_peer() {
    let slow = only(Measurement::new("wall", 3.0, "s").beside("peer", 2.0).ratio_at_most(1.2));
    assert_eq!(slow["ratio"], 1.5);
    assert_eq!(slow["holds"], false);
    assert_eq!(slow["peer_name"], "peer");
    let fast = only(Measurement::new("wall", 2.0, "s").beside("peer", 2.0).ratio_at_most(1.2));
    assert_eq!(fast["holds"], true);
}

#[test]
fn a_limit_is_held_against_the_number() {
    assert_eq!(only(Measurement::new("pause", 9.0, "ms").at_most(10.0))["holds"], true);
    assert_eq!(only(Measurement::new("pause", 11.0, "ms").at_most(10.0))["holds"], false);
}

#[test]
fn without_a_target_or_a_comparable_peer_nothing_holds_or_fails() {
    assert_eq!(only(Measurement::new("rate", 9.0, "MiB/s"))["holds"], Value::Null);
    let incomparable = only(Measurement::new("wall", 9.0, "s").beside("peer", 0.0).ratio_at_most(1.0));
    assert_eq!(incomparable["holds"], Value::Null);
}
