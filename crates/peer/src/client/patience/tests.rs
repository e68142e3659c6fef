use std::time::Duration;

use super::Patience;

#[test]
fn waits_grow_to_the_longest_and_end_with_the_patience() {
    let patience = Patience {
        total: Duration::from_secs(20),
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(6),
    };
    let waits: Vec<_> = patience.waits().map(|wait| wait.as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 6, 6, 1]);
    assert_eq!(Patience::NONE.waits().count(), 0);
}
