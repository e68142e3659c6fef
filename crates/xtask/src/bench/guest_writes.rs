//! Writes of a known pattern, made inside a guest to a disk of its own.

use anyhow::Result;
use model::ByteCount;
use testkit::agent::GuestAgent;

use super::random::Random;

/// The guest's unit of writing.
const BLOCK_BYTES: u64 = 4096;

/// Writes each run (OFFSET:LENGTH) to the disk with this serial number in pieces of 4 to 64 KiB, no two of them alike, and makes it
/// durable.
const SCRIPT: &str = r#"
use strict; use warnings; use IO::Handle;
my ($serial, @runs) = @ARGV;
my $name;
for my $path (glob "/sys/block/*/serial") {
    open my $file, "<", $path or next;
    $name = (split "/", $path)[3] if (readline($file) // "") =~ /^\Q$serial\E\s*$/;
}
open my $disk, "+<:raw", "/dev/$name" or die "/dev/$name: $!";
open my $random, "<:raw", "/dev/urandom" or die $!;
read $random, my $noise, 1 << 20;
for (@runs) {
    my ($offset, $left) = split /:/;
    sysseek $disk, $offset, 0 or die $!;
    while ($left > 0) {
        my $length = 4096 * (1 + int rand 16);
        $length = $left if $length > $left;
        syswrite($disk, substr $noise, int rand((1 << 20) - $length), $length) == $length or die $!;
        $left -= $length;
    }
}
$disk->sync or die $!;
"#;

/// Runs of blocks to be written, sorted and disjoint.
#[derive(Debug)]
pub struct WritePattern {
    /// Offset and length of each run, in bytes.
    runs: Vec<(u64, u64)>,
}

impl WritePattern {
    /// So many runs spread over the start of a disk, each at a random place and of a random length up to a limit.
    ///
    /// The same seed gives the same pattern.
    pub fn random(span: ByteCount, count: u64, length_limit: ByteCount, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let slot_blocks = span.0 / BLOCK_BYTES / count;
        let limit_blocks = (length_limit.0 / BLOCK_BYTES).min(slot_blocks);
        let runs = (0..count)
            .map(|slot| {
                let length = 1 + random.below(limit_blocks);
                let start = slot * slot_blocks + random.below(slot_blocks - length + 1);
                (start * BLOCK_BYTES, length * BLOCK_BYTES)
            })
            .collect();
        Self { runs }
    }

    /// The number of runs.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The bytes that are written.
    pub fn dirty(&self) -> ByteCount {
        self.runs.iter().map(|&(_, length)| ByteCount(length)).sum()
    }

    /// Writes it in the guest to the disk with this serial number; durable when this returns.
    pub async fn write(&self, guest: &GuestAgent, serial: &str) -> Result<()> {
        let runs: Vec<String> =
            self.runs.iter().map(|(offset, length)| format!("{offset}:{length}")).collect();
        let command =
            ["/usr/bin/perl", "-e", SCRIPT, serial].into_iter().chain(runs.iter().map(String::as_str));
        guest.exec(&command.collect::<Vec<_>>()).await.map(drop)
    }
}
