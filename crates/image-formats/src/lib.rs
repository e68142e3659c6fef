//! Image files as images and targets.
//!
//! Raw files and block devices are read and written natively ([`RawImage`], [`RawTarget`]); qcow2 files through a
//! `qemu-nbd` of their own ([`QemuNbdImage`], [`Qcow2Target`]), and described and edited by `qemu-img`. Which is which is
//! decided by [`detect`] from the first bytes alone, never by QEMU, and only for files that no guest could have written.

pub mod bitmap;
mod clone;
mod create;
mod error;
mod export;
mod in_place;
mod info;
mod magic;
mod new_file;
mod open;
mod overlay;
mod private_folder;
mod qcow2;
mod qemu_img;
mod qemu_nbd;
mod raw;

pub use clone::UnnamedClone;
pub use create::{FileTarget, create_target};
pub use error::{Error, ErrorKind, Result};
pub use export::{Export, export_image};
pub use in_place::{OverwrittenFile, open_in_place};
pub use info::{BitmapInfo, ImageInfo, Usage, detect, info};
pub use open::{file_format, open_image};
pub use overlay::{NbdBacking, create_overlay, relink_overlay};
pub use qcow2::Qcow2Target;
pub use qemu_nbd::QemuNbdImage;
pub use raw::{RawImage, RawTarget, is_open_elsewhere};
