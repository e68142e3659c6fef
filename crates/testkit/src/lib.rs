//! Real components for tests: guests, QEMU, stores
