//! Files inside images.

use api::{
    FileChange, FileChangeView, FileDifference, FileKind, FileStateView, FileView, VolumeStateView,
    VolumeView,
};

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

impl Identified for FileChangeView {
    fn id(&self) -> String {
        self.path.clone()
    }
}

impl Row for FileChangeView {
    const COLUMNS: &'static [&'static str] = &["change", "what", "size", "path"];

    fn cells(&self, _: &Times) -> Vec<String> {
        let change = match self.change {
            FileChange::Added => "added",
            FileChange::Removed => "removed",
            FileChange::Changed => "changed",
            FileChange::Unreadable => "unreadable",
        };
        let state = self.after.as_ref().or(self.before.as_ref());
        let what = match (self.change, &self.reason) {
            (FileChange::Unreadable, reason) => reason.clone().unwrap_or_default(),
            (FileChange::Changed, _) => {
                let words: Vec<_> = self.differences.iter().map(|difference| word(*difference)).collect();
                words.join(", ")
            }
            _ => state.map(|state| kind_word(state.kind).to_owned()).unwrap_or_default(),
        };
        let size = |state: &FileStateView| (state.kind == FileKind::File).then_some(state.size_bytes);
        let sizes = (self.before.as_ref().and_then(size), self.after.as_ref().and_then(size));
        let size = match sizes {
            (Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
            (before, after) => or_dash(after.or(before)),
        };
        let target = state.and_then(|state| state.target.as_ref());
        let target = target.map(|target| format!(" -> {target}")).unwrap_or_default();
        vec![change.to_owned(), what, size, format!("{}{target}", self.path)]
    }
}

fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "link",
        FileKind::CharacterDevice | FileKind::BlockDevice => "device",
        FileKind::Fifo => "pipe",
        FileKind::Socket => "socket",
    }
}

fn word(difference: FileDifference) -> &'static str {
    match difference {
        FileDifference::Kind => "kind",
        FileDifference::Size => "size",
        FileDifference::Mode => "mode",
        FileDifference::Owner => "owner",
        FileDifference::Times => "times",
        FileDifference::Target => "target",
        FileDifference::Device => "device",
        FileDifference::Attributes => "attributes",
        FileDifference::Content => "content",
        FileDifference::ContentLikely => "content likely",
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
