//! Image files as images and targets: raw natively, other formats through qemu-nbd
