//! The holdfast binary: command line and server
fn main() {}
