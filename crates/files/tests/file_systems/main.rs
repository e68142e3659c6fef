//! Files of real file systems, read by a real machine.

mod containers;
mod growing;
mod hostile;
mod images;
mod machine;
mod reading;
mod starting;
