//! How fast a journal takes in writes on this machine: `cargo run --release --package journal --example append -- FOLDER`.
//!
//! One thread writes at random places, one makes durable; the answer comes from memory. Half of each write compresses.

use std::{path::Path, sync::Arc, time::Duration};

use env::{Clock, Entropy, SeededEntropy, SystemClock};
use journal::{Directory, Generation, Journal, JournalOptions, Taken};
use model::{JournalId, VmId};

const DISK_BYTES: u64 = 8 << 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name an empty folder to write to")?;
    for (write_bytes, sum_bytes) in [(4 << 10, 512 << 20), (64 << 10, 2 << 30)] {
        let place = Path::new(&folder).join(write_bytes.to_string());
        let seconds = append(&place, write_bytes, sum_bytes)?;
        let rate = sum_bytes as f64 / 1e6 / seconds;
        println!(
            "{:>3} KiB: {rate:>6.0} MB/s, {:>7.0} writes/s",
            write_bytes >> 10,
            rate * 1e6 / write_bytes as f64
        );
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

fn append(place: &Path, write_bytes: usize, sum_bytes: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let (folder, clock) = (Arc::new(Directory::open(place)?), Arc::new(SystemClock));
    let options = JournalOptions::default();
    let id = JournalId::from_random([1; 10]);
    let journal = Journal::create(folder, id, Generation(1), options, Arc::clone(&clock) as _)?;
    let disk = journal.add_disk(VmId::from_random([1; 10]), "disk".parse()?, DISK_BYTES)?;
    let entropy = SeededEntropy::new(1);
    let mut noise = vec![0; (1 << 20) + write_bytes];
    entropy.fill(&mut noise);
    let begun = clock.now();
    std::thread::scope(|scope| -> Result<(), journal::Error> {
        let flusher = scope.spawn(|| {
            while journal.flush()?.0 < (sum_bytes / write_bytes) as u64 {
                journal.wait_until_filled(Duration::from_millis(10));
            }
            Ok::<(), journal::Error>(())
        });
        let mut data = vec![0; write_bytes];
        for number in 0..sum_bytes / write_bytes {
            let start = number * 4099 % (1 << 20);
            data[..write_bytes / 2].copy_from_slice(&noise[start..start + write_bytes / 2]);
            let slot = u64::from_le_bytes(env::random(&entropy)) % (DISK_BYTES / write_bytes as u64);
            while let Taken::Full(_) = journal.write(disk, slot * write_bytes as u64, &data)? {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        flusher.join().unwrap_or(Ok(()))
    })?;
    Ok(clock.now().microseconds_since(begun) as f64 / 1e6)
}
