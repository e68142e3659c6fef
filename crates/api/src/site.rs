//! Where a site lives on its host.

use std::path::{Path, PathBuf};

/// The data directory when none is named: `/var/lib/holdfast` for root, else `$XDG_DATA_HOME/holdfast`
/// (XDG Base Directory Specification 0.8), which defaults to `~/.local/share/holdfast`.
#[must_use]
pub fn data_directory_default(is_root: bool) -> PathBuf {
    if is_root {
        return PathBuf::from("/var/lib/holdfast");
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    base.unwrap_or_else(std::env::temp_dir).join("holdfast")
}

/// The unix socket of the site with this data directory.
#[must_use]
pub fn socket_path(data_directory: &Path) -> PathBuf {
    data_directory.join("run/api.sock")
}
