use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{Kind, tree::memory::MemoryTree};

/// All paths of a walk with windows of this size.
fn walked(tree: MemoryTree, held_max_bytes: usize) -> Vec<FilePath> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let start = FilePath::parse(b"/v").unwrap();
        let entry = tree.stat(&start, false).await.unwrap();
        let mut walk = SortedWalk::new(Arc::new(tree), &start, Some(entry)).holding(held_max_bytes);
        let mut paths = Vec::new();
        while let Some(step) = walk.next().await.unwrap() {
            match step {
                Step::Found(found) => paths.push(found.path),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(walk.held_bytes, 0);
        paths
    })
}

proptest! {
    #[test]
    fn every_path_comes_once_and_in_order_however_small_the_windows_are(
        paths in prop::collection::btree_set(prop::collection::vec(0..30_u8, 1..4), 0..60),
        is_small in any::<bool>(),
    ) {
        let mut tree = MemoryTree::shuffled();
        let mut expected = BTreeSet::from([FilePath::parse(b"/v").unwrap()]);
        for names in paths {
            let mut path = FilePath::parse(b"/v").unwrap();
            for name in names {
                path = path.join(format!("{name:x}").as_bytes()).unwrap();
                if expected.insert(path.clone()) {
                    tree.add(&path.to_bytes(), Kind::Directory);
                }
            }
        }
        let expected: Vec<_> = expected.into_iter().collect();
        prop_assert_eq!(walked(tree, if is_small { 0 } else { HELD_MAX_BYTES }), expected);
    }
}

#[test]
fn a_directory_that_is_larger_than_the_window_is_told_whole() {
    let mut tree = MemoryTree::shuffled();
    let count = 3 * WINDOW_MIN_BYTES / ENTRY_BYTES;
    for number in 0..count {
        tree.add(format!("/v/{number:05}").as_bytes(), Kind::Fifo);
    }
    let paths = walked(tree, 0);
    assert_eq!(paths.len(), count + 1);
    assert!(paths.is_sorted());
}
