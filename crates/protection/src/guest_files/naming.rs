//! Where files of an image go in a guest.

use std::sync::Arc;

use files::{FilePath, FileTree};
use hypervisor::GuestAbilities;

use super::{Error, ErrorKind, GuestFilesOrder, Result};

/// Characters that are no part of a name on Windows: some lead elsewhere.
const NO_NAME_ON_WINDOWS: &[char] = &['\\', '/', ':', '*', '?', '"', '<', '>', '|'];

/// What the volume holds whose files have their own paths in the guest.
const SIGNS_OF_A_ROOT: [&[u8]; 2] = [b"etc/fstab", b"etc/os-release"];

/// How paths in an image become paths in a guest.
#[derive(Debug)]
pub(super) struct Naming {
    /// The directory that everything goes to; none for each file's own place.
    target: Option<String>,
    is_windows: bool,
}

impl Naming {
    /// Checks where the order leads.
    pub(super) async fn new(
        tree: &Arc<dyn FileTree>,
        order: &GuestFilesOrder,
        abilities: GuestAbilities,
    ) -> Result<Self> {
        let is_windows = abilities.is_windows;
        let Some(target) = &order.target else {
            for path in &order.paths {
                check_own_place(tree, path, is_windows).await?;
            }
            return Ok(Self { target: None, is_windows });
        };
        let is_absolute = match is_windows {
            true => target.starts_with(r"\\") || target.get(1..3) == Some(r":\"),
            false => target.starts_with('/'),
        };
        if !is_absolute || target.chars().any(char::is_control) {
            let example = if is_windows { r"C:\restored" } else { "/tmp/restored" };
            let context = format!("{target} is no absolute path in the guest");
            return Err(Error::new(ErrorKind::Unsupported, context)
                .with_guidance(format!("name a directory as the guest does, as in --to {example}")));
        }
        let target = target.trim_end_matches(['/', '\\']).to_owned();
        Ok(Self { target: Some(target), is_windows })
    }

    /// The place of something that lies at `start` or below; why it can have none, in words.
    pub(super) fn place(&self, start: &FilePath, path: &FilePath) -> std::result::Result<String, String> {
        let text = String::from_utf8(path.to_bytes());
        let text = text.map_err(|_| "its name is not UTF-8, which agents do not take".to_owned())?;
        let Some(target) = &self.target else {
            let inside = String::from_utf8(path.inside()).unwrap_or_default();
            return Ok(format!("/{inside}"));
        };
        // Below the target, names start with the last one of what was asked for.
        let base_bytes = start.to_bytes().len() - start.name().map_or(0, <[u8]>::len);
        let below = text.get(base_bytes..).unwrap_or_default();
        if !self.is_windows {
            return Ok(format!("{target}/{below}"));
        }
        let names: Vec<&str> = below.split('/').collect();
        if names.iter().any(|name| name.contains(NO_NAME_ON_WINDOWS) || name.ends_with(['.', ' '])) {
            return Err("Windows does not take its name".to_owned());
        }
        Ok(format!(r"{target}\{}", names.join(r"\")))
    }
}

/// That a path's own place in the guest is known: in the volume with the system's root, and not that root itself.
async fn check_own_place(tree: &Arc<dyn FileTree>, path: &FilePath, is_windows: bool) -> Result<()> {
    let unknown = |why: &str| {
        let context = format!("where {path} belongs in the guest is not known: {why}");
        Err(Error::new(ErrorKind::Unsupported, context)
            .with_guidance("name a directory in the guest with --to"))
    };
    if is_windows {
        return unknown("on Windows, volumes have letters");
    }
    let Some(volume) = path.volume().filter(|_| !path.inside().is_empty()) else {
        return unknown("it is a whole volume");
    };
    for sign in SIGNS_OF_A_ROOT {
        let names = [b"/", volume, b"/", sign].concat();
        let is_there = match FilePath::parse(&names) {
            Ok(sign) => tree.stat(&sign, true).await.is_ok(),
            Err(_) => false,
        };
        if is_there {
            return Ok(());
        }
    }
    unknown("its volume is not the one with the system's root")
}
