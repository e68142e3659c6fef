//! A new disk file that reads from an image elsewhere what was never written to it.

use std::path::{Path, PathBuf};

use image_formats::{NbdBacking, create_overlay};

use super::{discard_partial, partial_path, place, prepare_place};
use crate::{Result, error::Context as _};

/// A file on its way to its place. What becomes of it is said by whoever has it: placed, or discarded.
#[derive(Debug)]
pub struct NewOverlay {
    path: PathBuf,
}

impl NewOverlay {
    /// Creates a qcow2 file beside its place, durably. The size may be larger than that of the image.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when something has the place; nothing is left then.
    pub async fn create(path: &Path, size_bytes: u64, backing: NbdBacking<'_>) -> Result<Self> {
        prepare_place(path, false).await?;
        let partial = partial_path(path);
        let created = create_overlay(&partial, size_bytes, backing).await;
        created.context(format!("{} cannot be created", partial.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is until it has its place.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        partial_path(&self.path)
    }

    /// Gives the file its name, durably.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exists`] when something else has the place by now.
    pub async fn place(&self) -> Result<()> {
        place(&self.path, false).await
    }

    /// Removes the file. What cannot be removed is named in the log; its name says what it is.
    pub fn discard(&self) {
        if let Err(error) = discard_partial(&self.path) {
            tracing::warn!(path = %self.partial().display(), %error, "a partial file could not be removed");
        }
    }
}

/// Gives a finished partial its name, durably, where a dead process has not.
///
/// # Errors
/// [`crate::ErrorKind::Exists`] when something else has the place.
pub async fn place_partial(path: &Path) -> Result<()> {
    place(path, false).await
}
