//! Files inside images.

use api::{FileKind, FileView, VolumeStateView, VolumeView};

use super::{Identified, Row, Times, or_dash};

impl Identified for VolumeView {
    fn id(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Row for VolumeView {
    const COLUMNS: &'static [&'static str] = &["path", "content", "size", "state"];

    fn cells(&self, _times: &Times) -> Vec<String> {
        let state = match (self.state, &self.reason) {
            (VolumeStateView::Readable, _) => "readable".to_owned(),
            (VolumeStateView::Locked, _) => "locked".to_owned(),
            (VolumeStateView::Unreadable, None) => "unreadable".to_owned(),
            (VolumeStateView::Unreadable, Some(reason)) => format!("unreadable: {reason}"),
        };
        vec![self.id(), self.content.clone(), self.size_bytes.to_string(), state]
    }
}

impl Identified for FileView {
    fn id(&self) -> String {
        self.path.clone()
    }
}

impl Row for FileView {
    const COLUMNS: &'static [&'static str] = &["mode", "owner", "size", "modified", "path"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let kind = match self.kind {
            FileKind::File => '-',
            FileKind::Directory => 'd',
            FileKind::Symlink => 'l',
            FileKind::CharacterDevice => 'c',
            FileKind::BlockDevice => 'b',
            FileKind::Fifo => 'p',
            FileKind::Socket => 's',
        };
        let target = self.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        vec![
            format!("{kind}{}", permissions(&self.mode)),
            format!("{}:{}", self.user, self.group),
            self.size_bytes.to_string(),
            or_dash(self.modified_at.map(|moment| times.clock(moment))),
            format!("{}{target}", self.path),
        ]
    }
}

/// Octal digits as `ls` writes permissions.
fn permissions(octal: &str) -> String {
    let mode = u32::from_str_radix(octal, 8).unwrap_or(0);
    let triple = |shift: u32, special: u32, letters: (char, char)| {
        let bits = mode >> shift;
        let execute = match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letters.0,
            (false, true) => letters.1,
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 == 0 { '-' } else { 'r' }, if bits & 2 == 0 { '-' } else { 'w' }, execute]
    };
    [triple(6, 0o4000, ('s', 'S')), triple(3, 0o2000, ('s', 'S')), triple(0, 0o1000, ('t', 'T'))]
        .concat()
        .iter()
        .collect()
}
