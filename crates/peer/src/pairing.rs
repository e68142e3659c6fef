//! Pairing: a site makes a one-time token, and another site that is given it proves that it was.
//!
//! The token names the maker's authority, so the caller knows whom it talks to before it says anything; somebody in between has
//! another authority. The caller then proves that it knows the secret, and the maker that it knows the token, each bound to this
//! one TLS session and to both authorities: what either says is worth nothing in another session. The scheme is that of
//! SCRAM (RFC 5802) without passwords: the maker keeps a digest of the secret, with which nobody can be paired.

mod proof;
#[cfg(test)]
mod tests;
mod token;

pub use proof::{Challenge, SecretDigest};
pub use token::{PairingSecret, PairingToken};
