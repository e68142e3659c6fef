//! Files of real file systems, read by a real machine.

mod images;
mod machine;
mod reading;
