//! What an action has printed: its beginning and its end, and how much was between.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is kept from the beginning.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What is kept from the end.
const TAIL_BYTES_MAX: usize = 192 << 10;

/// What an action prints. Clones are the same log; it can be read while it grows. It keeps 256 KiB, whatever comes.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped_bytes: u64,
}

impl Log {
    /// Appends what was printed.
    pub fn push(&self, mut bytes: &[u8]) {
        let mut kept = self.kept();
        let room = HEAD_BYTES_MAX - kept.head.len();
        if room > 0 {
            let (head, rest) = bytes.split_at(room.min(bytes.len()));
            kept.head.extend_from_slice(head);
            bytes = rest;
        }
        let surplus = bytes.len().saturating_sub(TAIL_BYTES_MAX);
        kept.dropped_bytes += surplus as u64;
        let bytes = &bytes[surplus..];
        let surplus = (kept.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES_MAX);
        kept.tail.drain(..surplus);
        kept.dropped_bytes += surplus as u64;
        kept.tail.extend(bytes);
    }

    /// What is kept, as text; a line says where something was left out.
    #[must_use]
    pub fn text(&self) -> String {
        let kept = self.kept();
        let (first, second) = kept.tail.as_slices();
        let tail = [first, second].concat();
        if kept.dropped_bytes == 0 {
            return String::from_utf8_lossy(&[kept.head.as_slice(), &tail].concat()).into_owned();
        }
        let (head, tail) = (String::from_utf8_lossy(&kept.head), String::from_utf8_lossy(&tail));
        format!("{head}\n… {} bytes are not kept …\n{tail}", kept.dropped_bytes)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn little_is_kept_as_it_is() {
        let log = Log::default();
        log.push("first\n".as_bytes());
        log.push("zweites Stück\n".as_bytes());
        assert_eq!(log.text(), "first\nzweites Stück\n");
    }

    #[test]
    fn of_much_the_beginning_and_the_end_are_kept() {
        let log = Log::default();
        log.push(b"begin ");
        for _ in 0..100 {
            log.push(&[b'x'; 1 << 20]);
        }
        log.push(b" end");
        let text = log.text();
        assert!(text.starts_with("begin xxx") && text.ends_with("xxx end"));
        assert!(text.len() < 300 << 10, "{} bytes are kept", text.len());
        assert!(text.contains("… 104595466 bytes are not kept …"), "it says what is missing");
    }
}
