//! The proof of a planned failover: both sites read the disks of a VM that has ended, and find the same.
//!
//! Here the files are read with which the VM has shut down; there, what the replica shows after the VM's last record. Both at once, piece by
//! piece.

use std::time::Instant;

use api::{Code, ProofView, ProvenDiskView, shell_word};
use catalog::KnownVm;
use hypervisor::DiskAtRest;
use image::{ByteRange, DiskImage};
use journal::{DiskNumber, Sequence};
use model::JournalId;
use peer::{
    Digest, DiskDigest, Patience, PeerClient,
    replicas::{Compare, PIECE_MAX_BYTES, piece_digest, piece_digests},
};

use super::{copying::pieces, find, hand_over::tap_of};
use crate::{
    dependents,
    failure::{Failure, Result},
    jobs::JobMonitor,
    peers,
    site::Site,
    vms,
};

/// How much is compared at once.
const STRETCH_BYTES: u64 = 64 << 20;

/// What is compared, and with whom.
struct Comparison<'a> {
    client: PeerClient,
    journal: JournalId,
    through: Sequence,
    vm: &'a KnownVm,
}

/// A disk as both sites have read it.
struct Read {
    here: Digest,
    there: Digest,
    /// Where they first differ.
    differs_at_bytes: Option<u64>,
}

/// Compares all disks of a VM that has ended and whose journal is at the other site through its last record.
///
/// # Errors
/// [`Code::Damaged`] naming both digests where a disk differs; then the VM is not to run there.
pub(crate) async fn prove(
    site: &Site,
    vm: &KnownVm,
    through: Sequence,
    monitor: &JobMonitor,
) -> Result<ProofView> {
    monitor.phase("comparing the disks of both sites");
    let begun = Instant::now();
    let known = find(site, vm).await?;
    let peer = peers::find(site, known.peer_id.as_str()).await?;
    let client = site.peers.client(&peer, Patience::default())?;
    let client = client.ok_or_else(|| Failure::conflict(format!("the site {} has no address", peer.name)))?;
    let comparison = Comparison { client, journal: known.journal_id, through, vm };
    let status = match tap_of(site, vm) {
        Some(tap) => {
            tap.status().await.map_err(|error| Failure::of(Code::Conflict, &error, error.guidance()))?
        }
        None => return Err(unreadable(vm, Failure::conflict("the journal's process has ended"))),
    };
    let _taken = dependents::take(site, &vms::disk_paths(vm)).await?;
    let disks = site.hypervisor.disks_at_rest(&vms::access(vm)).await;
    let disks = disks.map_err(|error| unreadable(vm, error.into()))?;
    let mut proven = Vec::new();
    for journaled in status.disks.iter().filter(|disk| disk.vm_id == vm.id) {
        let disk = disks.iter().find(|disk| disk.name == journaled.name);
        let disk = disk.ok_or_else(|| {
            unreadable(vm, Failure::not_found(format!("it has no disk {} any more", journaled.name)))
        })?;
        let read = comparison.read(disk, journaled.number, journaled.size_bytes).await?;
        if let Some(at_bytes) = read.differs_at_bytes {
            return Err(differs(vm, disk, &read, at_bytes, peer.name.as_str()));
        }
        proven.push(ProvenDiskView {
            disk: disk.name.to_string(),
            size_bytes: journaled.size_bytes,
            digest: read.here.to_string(),
        });
    }
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(ProofView { disks: proven, took_ms })
}

fn unreadable(vm: &KnownVm, failure: Failure) -> Failure {
    let name = shell_word(vm.name.as_str());
    failure.during(&format!("proving that the other site has all of {}", vm.name)).with_hint(format!(
        "where the VM is to run there all the same: holdfast failover planned {name} --skip-proof"
    ))
}

fn differs(vm: &KnownVm, disk: &DiskAtRest, read: &Read, at_bytes: u64, peer: &str) -> Failure {
    let detail = format!(
        "the disk {} of the VM {} is not the same at both sites: it has the digest {} here and {} at {peer}, and differs first at byte {at_bytes}",
        disk.name, vm.name, read.here, read.there
    );
    let name = shell_word(vm.name.as_str());
    Failure::new(Code::Damaged, detail).with_hint(format!(
        "nothing was handed over, and the VM may be started here; begin its replication anew: holdfast replication stop {name}"
    ))
}

impl Comparison<'_> {
    async fn read(&self, disk: &DiskAtRest, number: DiskNumber, size_bytes: u64) -> Result<Read> {
        let (mut here, mut there) = (DiskDigest::new(size_bytes), DiskDigest::new(size_bytes));
        let mut differs_at_bytes = None;
        for stretch in pieces(ByteRange::new(0, size_bytes), STRETCH_BYTES) {
            let ByteRange { offset_bytes, length_bytes } = stretch;
            let request = Compare {
                disk: number,
                through: self.through,
                offset_bytes,
                length_bytes,
                piece_bytes: PIECE_MAX_BYTES,
            };
            let of_here = async {
                own_digests(&*disk.image, stretch).await.map_err(|error| unreadable(self.vm, error.into()))
            };
            let of_there = async { Ok(self.client.compare_replica(self.journal, request).await?) };
            let (of_here, of_there) = futures::future::try_join(of_here, of_there).await?;
            for (place, (one, other)) in of_here.into_iter().zip(of_there).enumerate() {
                let piece = offset_bytes / PIECE_MAX_BYTES + place as u64;
                for (digest, of_piece) in [(&mut here, one), (&mut there, other)] {
                    if let Some(of_piece) = of_piece {
                        digest.add(piece, of_piece);
                    }
                }
                if one != other && differs_at_bytes.is_none() {
                    differs_at_bytes = Some(piece * PIECE_MAX_BYTES);
                }
            }
        }
        Ok(Read { here: here.finish(), there: there.finish(), differs_at_bytes })
    }
}

/// The digests of the pieces of a stretch here. Behind the end of an image whose last sector is not whole there are zeros.
async fn own_digests(image: &dyn DiskImage, stretch: ByteRange) -> image::Result<Vec<Option<Digest>>> {
    let size_bytes = image.size_bytes();
    let whole_bytes = stretch.end_bytes().min(size_bytes - size_bytes % PIECE_MAX_BYTES);
    let whole = ByteRange::between(stretch.offset_bytes, whole_bytes.max(stretch.offset_bytes));
    let mut digests = piece_digests(image, whole, PIECE_MAX_BYTES).await?;
    for piece in pieces(ByteRange::between(whole.end_bytes(), stretch.end_bytes()), PIECE_MAX_BYTES) {
        let mut content = vec![0; piece.length_bytes as usize];
        let there = piece.intersection(ByteRange::new(0, size_bytes)).length_bytes as usize;
        if there > 0 {
            image.read_at(piece.offset_bytes, &mut content[..there]).await?;
        }
        digests.push(piece_digest(&content));
    }
    Ok(digests)
}
