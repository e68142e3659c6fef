//! What differs between two entries of one path.

use std::mem::discriminant;

use super::{Change, Difference, Side, content};
use crate::{Entry, FilePath, FileTree, Found, Kind, Result};

/// File systems that keep a file's inode as long as the file lives.
const WITH_INODES: [&str; 5] = ["ext4", "xfs", "btrfs", "f2fs", "ntfs"];

/// What decides whether two entries are the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whether the bytes of files are compared.
    pub(super) with_content: bool,
    /// Whether another inode is another file.
    pub(super) is_inode_meaningful: bool,
}

/// Whether inodes tell files apart in the volume of a path.
pub(super) fn is_inode_meaningful(before: &dyn FileTree, after: &dyn FileTree, path: &FilePath) -> bool {
    let content = |tree: &dyn FileTree| {
        let mut volumes = tree.volumes().iter();
        let volume = volumes.find(|volume| Some(volume.name.as_bytes()) == path.volume());
        volume.map(|volume| volume.content.clone())
    };
    let (before, after) = (content(before), content(after));
    before == after && before.is_some_and(|content| WITH_INODES.contains(&content.as_str()))
}

/// Compares an entry that is in both trees; none where nothing differs.
pub(super) async fn compare(
    trees: [&dyn FileTree; 2],
    before: Found,
    after: Entry,
    rules: Rules,
) -> Result<Option<Change>> {
    let Found { path, entry: mut before } = before;
    let mut after = after;
    let unreadable = |side, error: crate::Error| {
        if error.is_retryable() {
            return Err(error);
        }
        Ok(Some(Change::Unreadable { path: path.clone(), side, error }))
    };
    // Listings are without attributes. They cannot change without the time of the last change.
    if before.changed != after.changed || rules.with_content {
        let [first, second] = trees;
        let (first, second) = tokio::join!(first.stat(&path, false), second.stat(&path, false));
        for (side, found, entry) in [(Side::Before, first, &mut before), (Side::After, second, &mut after)] {
            match found {
                Ok(found) => entry.attributes = found.attributes,
                Err(error) => return unreadable(side, error),
            }
        }
    }
    let mut differences = differences(&before, &after, rules.is_inode_meaningful);
    if rules.with_content && before.is_file() && after.is_file() && before.size_bytes == after.size_bytes {
        differences.retain(|difference| *difference != Difference::ContentLikely);
        match content::is_same(trees, &path, before.size_bytes).await {
            Ok(true) => {}
            Ok(false) => differences.push(Difference::Content),
            Err((side, error)) => return unreadable(side, error),
        }
    }
    let (before, after) = (Box::new(before), Box::new(after));
    Ok((!differences.is_empty()).then_some(Change::Changed { path, before, after, differences }))
}

/// What differs by what is known of two entries.
pub(super) fn differences(before: &Entry, after: &Entry, is_inode_meaningful: bool) -> Vec<Difference> {
    let is_same_kind = discriminant(&before.kind) == discriminant(&after.kind);
    let are_files = before.is_file() && after.is_file();
    let is_resized = are_files && before.size_bytes != after.size_bytes;
    let is_other_file = is_inode_meaningful && before.inode != after.inode;
    let is_likely = are_files && !is_resized && (before.modified != after.modified || is_other_file);
    let (target, device) = match (&before.kind, &after.kind) {
        (Kind::Symlink { target }, Kind::Symlink { target: other }) => (target != other, false),
        (one, other) => (false, is_same_kind && one != other),
    };
    let found = [
        (Difference::Kind, !is_same_kind),
        (Difference::Size, is_resized),
        (Difference::Mode, before.mode != after.mode),
        (Difference::Owner, (before.user, before.group) != (after.user, after.group)),
        (Difference::Times, before.modified != after.modified || before.changed != after.changed),
        (Difference::Target, target),
        (Difference::Device, device),
        (Difference::Attributes, before.attributes != after.attributes),
        (Difference::Content, is_resized),
        (Difference::ContentLikely, is_likely),
    ];
    found.into_iter().filter_map(|(difference, is_found)| is_found.then_some(difference)).collect()
}
