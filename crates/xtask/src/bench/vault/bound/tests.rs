use super::*;

/// A machine on which zstd is what takes time, unless the disk is slower.
fn rates(write: f64) -> Rates {
    Rates {
        read: 1000.0,
        write,
        compress: 10.0,
        decompress: 40.0,
        hash: 1000.0,
        seal: 1000.0,
        ratio: 2.0,
        processors: 2.0,
    }
}

#[test]
fn the_slowest_stage_is_the_bound() {
    // 400 / 10 to compress, 0.4 to hash, 0.2 to seal, by two processors.
    assert_eq!(rates(1000.0).full(400.0), 20.3);
    assert_eq!(rates(2.0).full(400.0), 100.0);
}

#[test]
fn what_is_stored_already_is_only_read_and_hashed() {
    assert_eq!(rates(1000.0).backup(400.0, 0.0), 0.4);
}

#[test]
fn a_restore_writes_more_than_it_reads() {
    assert_eq!(rates(10.0).restore(400.0), 40.0);
}

#[test]
fn only_whole_blocks_are_taken_for_samples() {
    let block = BLOCK_BYTES as u64;
    let extents = vec![0..block / 2, block..3 * block + 5, 9 * block..10 * block];
    assert_eq!(whole_blocks(extents), [block, 2 * block, 9 * block]);
}
