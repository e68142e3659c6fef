//! NBD: codec and client
