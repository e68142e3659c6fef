use super::Lru;

/// Which of these a cache has.
fn kept(lru: &mut Lru<char, u32>, keys: &str) -> Vec<Option<u32>> {
    keys.chars().map(|key| lru.get(&key).copied()).collect()
}

#[test]
fn what_was_not_used_for_the_longest_time_makes_room() {
    let mut lru = Lru::new(10);
    lru.put('a', 1, 4);
    lru.put('b', 2, 4);
    assert_eq!(kept(&mut lru, "a"), [Some(1)]);
    lru.put('c', 3, 4);
    assert_eq!(kept(&mut lru, "abc"), [Some(1), None, Some(3)]);
    lru.put('a', 4, 6);
    assert_eq!(kept(&mut lru, "ac"), [Some(4), Some(3)], "an entry that is replaced weighs nothing");
}

#[test]
fn one_that_is_too_heavy_is_kept_alone() {
    let mut lru = Lru::new(10);
    lru.put('a', 1, 4);
    lru.put('b', 2, 40);
    assert_eq!(kept(&mut lru, "ab"), [None, Some(2)]);
    lru.put('c', 3, 10);
    assert_eq!(kept(&mut lru, "bc"), [None, Some(3)]);
}
