//! What is waited for before a VM that has ended is handed over.

use crate::{Record, Standing};

/// Waits until the other site durably has everything that a VM wrote which has ended.
///
/// That is known as long as the process lives that took the last write, and the VM does not run again: what comes after that in the
/// journal is counted from what was durable, and says nothing of what was lost or missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drain {
    last: Option<(u64, Record)>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drained {
    /// Ask this process for the last record that it took, and tell [`Drain::note_last`].
    AskLast {
        /// The process that holds the journal.
        tap: u64,
    },
    /// Look again in a moment.
    Waiting,
    /// The other site has everything, through this record.
    Through(Record),
    /// The VM was handed over before, or taken over.
    Over,
    /// The other site lacks something, or nobody knows.
    Lacking,
}

impl Drain {
    /// What comes next, where the replication stands so, this process holds the journal, and the other site is so far.
    #[must_use]
    pub fn next(&self, standing: &Standing, tap: Option<u64>, durable_there: Option<Record>) -> Drained {
        match (standing, self.last, tap) {
            (Standing::Fenced(_), ..) => Drained::Over,
            (Standing::VmStopped, None, Some(tap)) => Drained::AskLast { tap },
            (Standing::VmStopped, Some((held_by, last)), Some(tap)) if held_by == tap => {
                if durable_there >= Some(last) { Drained::Through(last) } else { Drained::Waiting }
            }
            // That it has ended is not known yet, or that its tap is gone.
            (Standing::Protected, None, _) | (Standing::VmStopped, None, None) => Drained::Waiting,
            _ => Drained::Lacking,
        }
    }

    /// This process has taken this record last, and the VM had ended before it was asked.
    pub fn note_last(&mut self, tap: u64, last: Record) {
        self.last.get_or_insert((tap, last));
    }
}

#[cfg(test)]
mod tests {
    use super::{Drain, Drained};
    use crate::{Record, Standing};

    #[test]
    fn a_vm_that_ended_whole_is_waited_for() {
        let mut drain = Drain::default();
        assert_eq!(drain.next(&Standing::Protected, Some(1), None), Drained::Waiting);
        assert_eq!(drain.next(&Standing::VmStopped, Some(1), None), Drained::AskLast { tap: 1 });
        drain.note_last(1, Record(9));
        assert_eq!(drain.next(&Standing::VmStopped, Some(1), Some(Record(8))), Drained::Waiting);
        assert_eq!(drain.next(&Standing::VmStopped, Some(1), Some(Record(9))), Drained::Through(Record(9)));
    }

    #[test]
    fn what_is_not_known_is_lacking() {
        let mut drain = Drain::default();
        drain.note_last(1, Record(9));
        let far = Some(Record(100));
        assert_eq!(drain.next(&Standing::VmStopped, Some(2), far), Drained::Lacking, "another tap");
        assert_eq!(drain.next(&Standing::VmStopped, None, far), Drained::Lacking, "no tap");
        assert_eq!(drain.next(&Standing::Protected, Some(1), far), Drained::Lacking, "it runs again");
        assert_eq!(drain.next(&Standing::Copying, Some(1), far), Drained::Lacking);
        let fenced = Standing::Fenced("it was taken over".to_owned());
        assert_eq!(drain.next(&fenced, None, None), Drained::Over);
    }
}
