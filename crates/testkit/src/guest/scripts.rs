//! The files of our own that go into the guest: each with its path there and its text.

pub(super) const INITRAMFS_INIT: &str = include_str!("../../guest/initramfs-init");
pub(super) const GRUB_EARLY: &str = include_str!("../../guest/grub-early.cfg");

/// What goes into the root file system.
pub(super) const ROOT: [(&str, &str); 9] = [
    ("usr/sbin/init", include_str!("../../guest/init")),
    ("usr/sbin/shutdown", SHUTDOWN),
    ("etc/acpi/PWRF/00000080", SHUTDOWN),
    ("etc/qemu/fsfreeze-hook.d/workload", include_str!("../../guest/fsfreeze-hook")),
    ("usr/local/bin/workload", include_str!("../../guest/workload")),
    ("usr/local/bin/verify", include_str!("../../guest/verify")),
    ("usr/local/bin/verify-state", VERIFY_STATE),
    ("boot/grub/grub.cfg", include_str!("../../guest/grub.cfg")),
    ("etc/passwd", "root::0:0:root:/root:/bin/sh\n"),
];

/// Everything, for the cache's key.
pub(super) const ALL: (&str, &str, [(&str, &str); 9]) = (INITRAMFS_INIT, GRUB_EARLY, ROOT);

/// Checks what the workload left; also run on the host.
pub(crate) const VERIFY_STATE: &str = include_str!("../../guest/verify-state");

const SHUTDOWN: &str = include_str!("../../guest/shutdown");
