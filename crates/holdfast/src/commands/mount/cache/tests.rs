use std::future::ready;

use super::*;

async fn get(
    cache: &Cache<u32, usize>,
    key: u32,
    load: Result<usize, &'static str>,
) -> Result<usize, &'static str> {
    cache.get(&key, |weight| *weight, ready(load)).await
}

#[tokio::test]
async fn what_is_there_is_not_loaded_again() {
    let cache = Cache::new(10);
    assert_eq!(get(&cache, 1, Ok(4)).await, Ok(4));
    assert_eq!(get(&cache, 1, Err("loaded again")).await, Ok(4));
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_first() {
    let cache = Cache::new(10);
    for key in [1, 2, 1, 3] {
        get(&cache, key, Ok(4)).await.unwrap();
    }
    assert_eq!([1, 2, 3].map(|key| cache.holds(&key)), [true, false, true]);
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let cache = Cache::new(10);
    assert_eq!(get(&cache, 1, Err("gone")).await, Err("gone"));
    assert!(!cache.holds(&1));
    assert_eq!(get(&cache, 1, Ok(4)).await, Ok(4));
}

#[tokio::test]
async fn one_value_that_is_too_heavy_is_still_given() {
    let cache = Cache::new(10);
    get(&cache, 1, Ok(4)).await.unwrap();
    assert_eq!(get(&cache, 2, Ok(40)).await, Ok(40));
    assert!(!cache.holds(&1));
}
