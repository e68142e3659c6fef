//! Whether two files hold the same, without their bytes coming here.

use super::Side;
use crate::{Digest, Error, ErrorKind, FilePath, FileTree};

/// Compares a file of the same size in two trees, a range at a time: as far as both get with one digest.
pub(super) async fn is_same(
    trees: [&dyn FileTree; 2],
    path: &FilePath,
    size_bytes: u64,
) -> Result<bool, (Side, Error)> {
    let [before, after] = trees;
    let mut at = 0;
    while at < size_bytes {
        let (first, second) =
            tokio::join!(before.digest(path, at..size_bytes), after.digest(path, at..size_bytes));
        let (first, second) = (first.map_err(|error| (Side::Before, error))?, second.map_err(after_side)?);
        let end = first.end_bytes.min(second.end_bytes);
        let (first, second) = (
            up_to(before, path, at, end, first).await.map_err(|error| (Side::Before, error))?,
            up_to(after, path, at, end, second).await.map_err(after_side)?,
        );
        if first.hash != second.hash {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

fn after_side(error: Error) -> (Side, Error) {
    (Side::After, error)
}

/// A digest that ends where the other tree's does.
async fn up_to(
    tree: &dyn FileTree,
    path: &FilePath,
    start: u64,
    end: u64,
    digest: Digest,
) -> Result<Digest, Error> {
    if digest.end_bytes == end {
        return Ok(digest);
    }
    match tree.digest(path, start..end).await? {
        digest if digest.end_bytes == end => Ok(digest),
        _ => {
            Err(Error::new(ErrorKind::Damaged, format!("{path}: what is read of it is not always the same")))
        }
    }
}
