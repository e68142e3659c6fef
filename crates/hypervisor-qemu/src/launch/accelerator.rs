//! What runs the guest's instructions.

use std::fs;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The host's CPU, through KVM.
    Kvm,
    /// QEMU's translator: works everywhere, and slowly.
    Tcg,
}

impl Accelerator {
    /// The best one that works here. In a VM without nested virtualisation `/dev/kvm` may open and still be useless, so the
    /// CPU is asked too.
    pub(crate) fn detect() -> Self {
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let virtualises = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
        let opens = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        if virtualises && opens { Self::Kvm } else { Self::Tcg }
    }

    /// QEMU's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// The CPU model with everything that the accelerator can do.
    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}
