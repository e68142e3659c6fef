use std::sync::Arc;

use super::Turns;

#[test]
fn whoever_asks_meanwhile_makes_the_place_be_looked_at_once_more() {
    let turns = Arc::new(Turns::default());
    let turn = turns.take(&"a").unwrap();
    assert!(turns.take(&"a").is_none() && turns.take(&"a").is_none());
    assert!(turns.take(&"b").is_some(), "another place");
    let turn = turn.end().expect("somebody has asked");
    assert!(turn.end().is_none());
    assert!(!turns.has(&"a"));
}

#[test]
fn a_turn_that_is_lost_is_free_again() {
    let turns = Arc::new(Turns::default());
    drop(turns.take(&"a"));
    assert!(turns.take(&"a").is_some());
}
