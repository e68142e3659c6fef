//! Archives that the kernel unpacks: cpio in the form "newc" (the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).

/// File types in the mode.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";

/// Everything is aligned to this.
const ALIGNMENT_BYTES: usize = 4;

/// An archive in the making.
#[derive(Debug, Default)]
pub(super) struct Archive {
    content: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, &[]);
    }

    pub(super) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, FILE | permissions, content);
    }

    pub(super) fn link(&mut self, name: &str, target: &str) {
        self.entry(name, LINK | 0o777, target.as_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.content
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, links) = (self.entries, 1);
        // Files of 4 GiB and more do not exist here.
        let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.content.extend_from_slice(b"070701");
        for field in fields {
            self.content.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.content.extend_from_slice(name.as_bytes());
        self.content.push(0);
        self.align();
        self.content.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.content.resize(self.content.len().next_multiple_of(ALIGNMENT_BYTES), 0);
    }
}
