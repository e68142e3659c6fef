//! A run as it is kept.

use super::{Run, StepId};
use crate::kept::{self, DecodeError};

impl Run {
    /// The run as it is kept.
    #[must_use]
    pub fn encode(&self) -> String {
        // It is plain data with text for keys: writing it cannot fail.
        serde_json::to_string(&kept::written(self)).unwrap_or_default()
    }

    /// A run that was kept. Put [`super::Event::Restarted`] in before anything else.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let what = "run";
        let run: Self = kept::decode(what, text)?;
        let mut before = StepId(0);
        for step in run.steps() {
            if step.id <= before || step.id.0 >= run.next_step {
                let why = format!("the step {} is out of its place", step.id);
                return Err(DecodeError::Damaged { what, why });
            }
            before = step.id;
        }
        Ok(run)
    }
}
