//! Files of real file systems, read by a real machine.

mod composed;
mod containers;
mod contradictory;
mod fields;
mod growing;
mod hostile;
mod images;
mod machine;
mod mutations;
mod reading;
mod starting;
mod tables;
