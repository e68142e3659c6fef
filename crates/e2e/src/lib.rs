//! End-to-end tests on real QEMU guests
