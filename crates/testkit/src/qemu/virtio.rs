//! A driver of a virtio disk outside its VM: it stands in for a guest that is as fast as the host, through the same device.
//!
//! It reaches the device's registers over QEMU's qtest protocol (`docs/devel/qtest`), and the queue in the VM's memory, which is
//! a file. The device is a legacy one: virtio 1.1, 4.1.4.8 and 2.6.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::FileExt, net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// The place of the device on the PCI bus, as on QEMU's command line.
pub(super) const SLOT: u32 = 4;

/// How many requests can be under way.
pub const DEPTH_MAX: u32 = 16;
/// The most that one request writes.
pub const WRITE_BYTES_MAX: usize = 64 << 10;

const SECTOR_BYTES: u64 = 512;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ports through which a PC configures PCI.
const CONFIG_ADDRESS: u32 = 0xcf8;
const CONFIG_DATA: u32 = 0xcfc;
/// Where the registers of the device are put, and which interrupt it gets.
const REGISTERS: u32 = 0xc000;
const INTERRUPT: u32 = 11;

/// Registers of a legacy device: virtio 1.1, 4.1.4.8.
const DRIVER_FEATURES: u32 = 4;
const QUEUE_ADDRESS: u32 = 8;
const QUEUE_SIZE: u32 = 12;
const QUEUE_SELECT: u32 = 14;
const QUEUE_NOTIFY: u32 = 16;
const DEVICE_STATUS: u32 = 18;
const INTERRUPT_STATUS: u32 = 19;

/// With it the device may cache what is written until it is told to flush, as with every usual guest.
const FEATURE_FLUSH: u32 = 1 << 9;

/// Where things are in the VM's memory.
const RING: u64 = 1 << 20;
const REQUESTS: u64 = 2 << 20;
const REQUEST_BYTES: u64 = WRITE_BYTES_MAX as u64 + PAGE_BYTES;
const PAGE_BYTES: u64 = 4096;

/// The driver. Requests complete in any order.
#[derive(Debug)]
pub struct VirtioDisk {
    qtest: BufReader<UnixStream>,
    memory: File,
    queue_size: u16,
    submitted: u16,
    completed: u16,
    interrupted: bool,
    free: Vec<u32>,
    begun: [Option<Instant>; DEPTH_MAX as usize],
}

impl VirtioDisk {
    /// Takes over the device of a QEMU whose firmware does nothing.
    pub(super) fn attach(qtest: &Path, memory: &Path) -> Result<Self> {
        let stream = UnixStream::connect(qtest).context("connecting to QEMU's qtest socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut disk = Self {
            qtest: BufReader::new(stream),
            memory: File::options().read(true).write(true).open(memory).context("opening the VM's memory")?,
            queue_size: 0,
            submitted: 0,
            completed: 0,
            interrupted: false,
            free: (0..DEPTH_MAX).collect(),
            begun: [None; DEPTH_MAX as usize],
        };
        disk.configure()?;
        Ok(disk)
    }

    /// How many requests are under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        DEPTH_MAX - self.free.len() as u32
    }

    /// Begins a write. [`VirtioDisk::notify`] tells the device.
    ///
    /// # Errors
    /// When too many are under way, or it is too long.
    pub fn submit(&mut self, offset_bytes: u64, content: &[u8]) -> Result<()> {
        ensure!(content.len() <= WRITE_BYTES_MAX, "a write of {} bytes is too long", content.len());
        let slot = self.free.pop().context("too many writes are under way")?;
        let request = REQUESTS + u64::from(slot) * REQUEST_BYTES;
        let (data, status) = (request + PAGE_BYTES, request + 16);
        let mut header = [0; 17];
        header[..4].copy_from_slice(&1u32.to_le_bytes());
        header[8..16].copy_from_slice(&(offset_bytes / SECTOR_BYTES).to_le_bytes());
        header[16] = 0xff;
        self.memory.write_all_at(&header, request)?;
        self.memory.write_all_at(content, data)?;
        let first = slot * 3;
        self.describe(first, request, 16, Flags::Next)?;
        self.describe(first + 1, data, content.len() as u32, Flags::Next)?;
        self.describe(first + 2, status, 1, Flags::WrittenByDevice)?;
        let available = RING + u64::from(self.queue_size) * 16;
        let entry = u64::from(self.submitted % self.queue_size);
        self.memory.write_all_at(&(first as u16).to_le_bytes(), available + 4 + 2 * entry)?;
        self.submitted = self.submitted.wrapping_add(1);
        self.memory.write_all_at(&self.submitted.to_le_bytes(), available + 2)?;
        self.begun[slot as usize] = Some(Instant::now());
        Ok(())
    }

    /// Tells the device that there are requests.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn notify(&mut self) -> Result<()> {
        self.order(&format!("outw {:#x} 0", REGISTERS + QUEUE_NOTIFY)).map(drop)
    }

    /// Waits until at least one write is done, and returns how long each took that is.
    ///
    /// # Errors
    /// When a write failed, none is under way, or QEMU is gone.
    pub fn wait(&mut self) -> Result<Vec<Duration>> {
        ensure!(self.under_way() > 0, "no write is under way");
        loop {
            let done = self.take_completed()?;
            if !done.is_empty() {
                return Ok(done);
            }
            while !self.interrupted {
                self.read_line()?;
            }
            // Reading it lowers the interrupt, so that the next one is seen.
            self.interrupted = false;
            self.order(&format!("inb {:#x}", REGISTERS + INTERRUPT_STATUS))?;
        }
    }

    fn take_completed(&mut self) -> Result<Vec<Duration>> {
        let available = RING + u64::from(self.queue_size) * 16;
        let used = (available + 4 + 2 * u64::from(self.queue_size) + 2).next_multiple_of(PAGE_BYTES);
        let mut index = [0; 2];
        self.memory.read_exact_at(&mut index, used + 2)?;
        let (index, mut took) = (u16::from_le_bytes(index), Vec::new());
        while self.completed != index {
            let mut entry = [0; 4];
            let place = u64::from(self.completed % self.queue_size);
            self.memory.read_exact_at(&mut entry, used + 4 + 8 * place)?;
            let slot = u32::from_le_bytes(entry) / 3;
            let mut status = [0];
            self.memory.read_exact_at(&mut status, REQUESTS + u64::from(slot) * REQUEST_BYTES + 16)?;
            ensure!(status == [0], "the disk failed a write");
            let begun = self.begun.get_mut(slot as usize).and_then(Option::take);
            took.push(begun.context("the device completes what nobody asked for")?.elapsed());
            self.free.push(slot);
            self.completed = self.completed.wrapping_add(1);
        }
        Ok(took)
    }

    /// Sets up the PCI bus, which is the firmware's work, and then the device.
    fn configure(&mut self) -> Result<()> {
        self.order("irq_intercept_in ioapic")?;
        let bridge = (1 << 31) | (1 << 11);
        self.set_config(bridge | 0x60, INTERRUPT * 0x0101_0101)?;
        let device = (1 << 31) | (SLOT << 11);
        self.set_config(device | 0x10, REGISTERS)?;
        self.set_config(device | 0x04, 0b101)?;
        let mut out = |kind: &str, register, value: u64| {
            self.order(&format!("out{kind} {:#x} {value:#x}", REGISTERS + register))
        };
        out("b", DEVICE_STATUS, 0)?;
        out("b", DEVICE_STATUS, 0b11)?;
        out("l", DRIVER_FEATURES, u64::from(FEATURE_FLUSH))?;
        out("w", QUEUE_SELECT, 0)?;
        out("l", QUEUE_ADDRESS, RING / PAGE_BYTES)?;
        out("b", DEVICE_STATUS, 0b111)?;
        let size = self.order(&format!("inw {:#x}", REGISTERS + QUEUE_SIZE))?;
        self.queue_size = u16::try_from(size).context("the queue is too long")?;
        ensure!(u32::from(self.queue_size) >= 3 * DEPTH_MAX, "the queue has {size} places");
        Ok(())
    }

    fn set_config(&mut self, address: u32, value: u32) -> Result<()> {
        self.order(&format!("outl {CONFIG_ADDRESS:#x} {address:#x}"))?;
        self.order(&format!("outl {CONFIG_DATA:#x} {value:#x}")).map(drop)
    }

    fn describe(&self, index: u32, address: u64, size_bytes: u32, flags: Flags) -> Result<()> {
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&address.to_le_bytes());
        descriptor[8..12].copy_from_slice(&size_bytes.to_le_bytes());
        descriptor[12..14].copy_from_slice(&(flags as u16).to_le_bytes());
        descriptor[14..].copy_from_slice(&((index + 1) as u16).to_le_bytes());
        self.memory.write_all_at(&descriptor, RING + u64::from(index) * 16).context("describing a request")
    }

    /// Gives QEMU an order and returns what it answers.
    fn order(&mut self, order: &str) -> Result<u64> {
        self.qtest.get_mut().write_all(format!("{order}\n").as_bytes())?;
        loop {
            let Some(answer) = self.read_line()? else { continue };
            let number = answer.trim_start_matches("0x");
            return if number.is_empty() {
                Ok(0)
            } else {
                u64::from_str_radix(number, 16).with_context(|| format!("{order}: {answer}"))
            };
        }
    }

    /// Reads what QEMU says next: an answer, or what became of interrupts.
    fn read_line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        self.qtest.read_line(&mut line).context("waiting for QEMU")?;
        let line = line.trim();
        if let Some(interrupt) = line.strip_prefix("IRQ ") {
            self.interrupted |= interrupt == format!("raise {INTERRUPT}");
            return Ok(None);
        }
        match line.strip_prefix("OK") {
            Some(answer) => Ok(Some(answer.trim().to_owned())),
            None => bail!("QEMU's qtest says {line:?}"),
        }
    }
}

/// What a descriptor is: virtio 1.1, 2.6.5.
#[derive(Debug, Clone, Copy)]
enum Flags {
    Next = 1,
    WrittenByDevice = 2,
}
