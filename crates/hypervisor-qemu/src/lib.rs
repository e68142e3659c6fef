//! QEMU as a hypervisor: QMP, guest agent, capture, launch
