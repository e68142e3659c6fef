//! Actions of recovery plans, carried out on this host: programs, playbooks and HTTP calls, each with an end.
//!
//! # Invariants
//!
//! 1. **An action ends.** At its time limit a program is asked to end, and a moment later killed, with everything that it has started:
//!    also what has left its process group or its session, or has been orphaned.
//! 2. **Nothing outlives its server.** When the process that waits for a program dies, or gives it up, the program is ended the
//!    same way. What a finished program has left running is ended too: whatever is to stay belongs to a service manager.
//! 3. **Words stay words.** Arguments, names and values reach the program as they are; no shell looks at them.
//! 4. **What is kept is bounded**, whatever is printed.

mod ansible;
mod error;
mod http;
mod launch;
mod log;
mod program;
mod result;
mod supervisor;

pub use ansible::Playbook;
pub use error::{Error, ErrorKind, Result};
pub use http::{HttpAnswer, HttpCall};
pub use launch::{Finished, run};
pub use log::Log;
pub use program::{Exit, Program};
pub use result::{VARIABLE_BYTES_MAX, VARIABLES_MAX, variables};
pub use supervisor::supervise;
