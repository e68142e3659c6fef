use super::*;
use crate::{Attribute, Kind, Time, tree::memory::MemoryTree};

fn path(text: &str) -> FilePath {
    FilePath::parse(text.as_bytes()).unwrap()
}

/// Two trees that are the same.
fn trees() -> [MemoryTree; 2] {
    [(); 2].map(|()| {
        let mut tree = MemoryTree::new();
        tree.add(b"/v/d", Kind::Directory);
        tree.add_file(b"/v/d/f", &[(0, b"content")], 7);
        tree.add_file(b"/v/g", &[(0, b"more content")], 12);
        tree.add(b"/v/l", Kind::Symlink { target: b"d/f".to_vec() });
        tree
    })
}

async fn changes(before: MemoryTree, after: MemoryTree, at: &str, with_content: bool) -> Vec<String> {
    let mut diff = Diff::new(Arc::new(before), Arc::new(after), &path(at), with_content);
    let mut lines = Vec::new();
    while let Some(change) = diff.next().await.unwrap() {
        lines.push(match change {
            Change::Added(found) => format!("+ {}", found.path),
            Change::Removed(found) => format!("- {}", found.path),
            Change::Changed { path, differences, .. } => format!("{path} {differences:?}"),
            Change::Unreadable { path, side, error } => format!("{path} {side:?} {:?}", error.kind()),
        });
    }
    lines
}

#[tokio::test]
async fn trees_that_are_the_same_do_not_differ() {
    for with_content in [false, true] {
        let [before, after] = trees();
        assert_eq!(changes(before, after, "/", with_content).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_is_in_one_tree_only_is_told_with_all_that_is_below() {
    let [mut before, mut after] = trees();
    before.add(b"/v/d/old", Kind::Directory);
    before.add(b"/v/d/old/inside", Kind::Fifo);
    after.add(b"/v/a", Kind::Directory);
    after.add(b"/v/a/b", Kind::Socket);
    let expected = ["+ /v/a", "+ /v/a/b", "- /v/d/old", "- /v/d/old/inside"];
    assert_eq!(changes(before, after, "/v", false).await, expected);
}

#[tokio::test]
async fn each_kind_of_difference_is_named() {
    let [before, mut after] = trees();
    let file = after.add_file(b"/v/d/f", &[(0, b"contents")], 8);
    (file.mode, file.user, file.changed) = (0o600, 7, Time { seconds: 1, nanoseconds: 0 });
    file.attributes = vec![Attribute { name: b"user.other".to_vec(), value: Vec::new() }];
    after.add(b"/v/l", Kind::Symlink { target: b"g".to_vec() });
    after.add(b"/v/g", Kind::Fifo);
    let expected = ["/v/d/f [Size, Mode, Owner, Times, Attributes, Content]", "/v/g [Kind]", "/v/l [Target]"];
    assert_eq!(changes(before, after, "/v", false).await, expected);
}

#[tokio::test]
async fn content_that_changed_behind_equal_metadata_is_found_where_it_is_looked_for() {
    let expected: [&[&str]; 2] = [&[], &["/v/g [Content]"]];
    for (with_content, expected) in [false, true].into_iter().zip(expected) {
        let [before, mut after] = trees();
        let inode = after.add_file(b"/v/g", &[(0, b"more c0ntent")], 12).inode;
        assert_eq!(inode, 4);
        assert_eq!(changes(before, after, "/", with_content).await, expected);
    }
}

#[tokio::test]
async fn a_new_time_makes_a_new_content_likely_until_somebody_looks() {
    let expected: [&[&str]; 2] = [&["/v/g [Times, ContentLikely]"], &["/v/g [Times]"]];
    for (with_content, expected) in [false, true].into_iter().zip(expected) {
        let [before, mut after] = trees();
        after.add_file(b"/v/g", &[(0, b"more content")], 12).modified.seconds += 1;
        assert_eq!(changes(before, after, "/v/g", with_content).await, expected);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_hides_what_the_other_tree_has_there() {
    let [mut before, mut after] = trees();
    before.damage(b"/v/d");
    after.add(b"/v/e", Kind::Fifo);
    assert_eq!(changes(before, after, "/", false).await, ["/v/d Before Damaged", "+ /v/e"]);
}

#[tokio::test]
async fn a_path_that_is_in_neither_tree_is_an_error() {
    let [before, after] = trees();
    let mut diff = Diff::new(Arc::new(before), Arc::new(after), &path("/v/none"), false);
    assert_eq!(diff.next().await.unwrap_err().kind(), ErrorKind::NotFound);
}
