use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{Entry, ErrorKind};

/// What a side has, and which of its directories break off behind how many steps.
type Tree = BTreeSet<FilePath>;

/// Small trees: of few names, so that both sides have much in common. Whatever lies below something has it too.
fn trees() -> impl Strategy<Value = Tree> {
    let path = prop::collection::vec(0..3_u8, 1..5);
    prop::collection::btree_set(path, 0..20).prop_map(|paths| {
        let mut tree = Tree::new();
        for names in paths {
            let mut path = FilePath::default();
            for name in names {
                path = path.join(&[b'a' + name]).unwrap();
                tree.insert(path.clone());
            }
        }
        tree
    })
}

fn found(path: &FilePath) -> Step {
    let entry = Entry::directory(path.name().unwrap_or_default());
    Step::Found(Found { path: path.clone(), entry })
}

/// A walk over a tree in which one directory, if it is there, breaks off behind so many of the steps below it.
fn walk(tree: &Tree, broken: &Option<(FilePath, usize)>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut below = 0;
    let mut is_over = false;
    for path in tree {
        let is_within = broken.as_ref().is_some_and(|(directory, _)| path.is_within(directory));
        if is_within && !is_over {
            let (directory, after) = broken.as_ref().unwrap();
            if below > *after {
                is_over = true;
                let error = Error::new(ErrorKind::Damaged, "broken");
                steps.push(Step::Unreadable { path: directory.clone(), error });
            }
            below += 1;
        }
        if !(is_within && is_over) {
            steps.push(found(path));
        }
    }
    steps
}

fn merged(before: Vec<Step>, after: Vec<Step>) -> Vec<Pair> {
    let mut walks = [before.into_iter(), after.into_iter()];
    let mut merge = Merge::default();
    let mut pairs = Vec::new();
    loop {
        while merge.wants_any() {
            for (side, walk) in [Side::Before, Side::After].into_iter().zip(&mut walks) {
                if merge.wants(side) {
                    merge.offer(side, walk.next());
                }
            }
        }
        match merge.next() {
            Some(pair) => pairs.push(pair),
            None => return pairs,
        }
    }
}

proptest! {
    #[test]
    fn each_path_is_told_once_in_order_and_on_the_right_side(before in trees(), after in trees()) {
        let pairs = merged(walk(&before, &None), walk(&after, &None));
        let told: Vec<_> = pairs.iter().map(|pair| match pair {
            Pair::Only(Side::Before, found) => (found.path.clone(), (true, false)),
            Pair::Only(Side::After, found) => (found.path.clone(), (false, true)),
            Pair::Both(one, other) if one.path == other.path => (one.path.clone(), (true, true)),
            other => panic!("{other:?}"),
        }).collect();
        let paths: Vec<_> = told.iter().map(|(path, _)| path).collect();
        prop_assert!(paths.windows(2).all(|pair| pair[0] < pair[1]));
        let told: BTreeMap<_, _> = told.into_iter().collect();
        let expected: BTreeMap<_, _> = before.union(&after)
            .map(|path| (path.clone(), (before.contains(path), after.contains(path))))
            .collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn what_cannot_be_read_on_one_side_is_never_told_of_the_other_as_if_it_were_new(
        before in trees(),
        after in trees(),
        directory in prop::collection::vec(0..3_u8, 1..3),
        breaks_after in 0..4_usize,
        on_both in any::<bool>(),
    ) {
        let names = directory.iter().map(|name| vec![b'a' + name]);
        let directory = names.fold(FilePath::default(), |path, name| path.join(&name).unwrap());
        let broken = Some((directory.clone(), breaks_after));
        let steps = walk(&before, &broken);
        let is_broken = steps.iter().any(|step| matches!(step, Step::Unreadable { .. }));
        let readable: Tree = steps.iter().filter_map(|step| match step {
            Step::Found(found) => Some(found.path.clone()),
            Step::Unreadable { .. } => None,
        }).collect();
        let pairs = merged(steps, walk(&after, if on_both { &broken } else { &None }));
        let mut unreadable = 0;
        for pair in &pairs {
            match pair {
                Pair::Unreadable(_, path, _) => {
                    prop_assert_eq!(path, &directory);
                    unreadable += 1;
                }
                Pair::Only(Side::After, found) => prop_assert!(!before.contains(&found.path), "{:?}", found.path),
                Pair::Only(Side::Before, found) => prop_assert!(readable.contains(&found.path)),
                Pair::Both(one, other) => prop_assert!(one.path == other.path),
            }
        }
        prop_assert!(!is_broken || unreadable >= 1);
        // Beside the directory nothing is lost.
        let told: BTreeSet<_> = pairs.iter().filter_map(|pair| match pair {
            Pair::Only(_, found) | Pair::Both(found, _) => Some(&found.path),
            Pair::Unreadable(..) => None,
        }).collect();
        let beside = before.union(&after).filter(|path| !path.is_within(&directory));
        prop_assert!(beside.into_iter().all(|path| told.contains(path)));
    }
}
