//! Sending a journal.

use bytes::Bytes;
use hyper::Method;
use journal::Part;
use model::JournalId;

use super::PeerClient;
use crate::{
    Digest, Error, Result,
    replicas::{
        Compare, Compared, HandOver, Prepare, Prepared, ReplicaOffer, ReplicaProgress, TakenOver, encode,
    },
};

/// Each of these but the end fails with [`crate::ErrorKind::Fenced`] once the peer knows a newer generation of the VM, and its message says
/// since when and why: the VM must neither be started nor replicated by the caller any more. What the peer does not know, or
/// what is not the caller's, is [`crate::ErrorKind::NotFound`].
impl PeerClient {
    /// Has the peer keep a journal, or tells it what has changed of the offer.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] when the journal is another site's or the peer has let go of the VM's other journal;
    /// [`crate::ErrorKind::Damaged`] when what the peer has of it cannot be used any more.
    pub async fn offer_replica(&self, journal: JournalId, offer: &ReplicaOffer) -> Result<ReplicaProgress> {
        let body = serde_json::to_vec(offer)
            .map_err(|error| Error::invalid("a request cannot be written").with_source(error))?;
        self.call(Method::PUT, &of(journal), body.into()).await?.json()
    }

    /// Sends parts in their order, as many as [`crate::replicas::PARTS_BYTES`] ask for. When it returns, everything before
    /// `wanted` is durable there. Parts that the peer has are passed over; from where one is missing none is taken. So `wanted` tells what to send
    /// next in every case.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Damaged`] for a part that is not what the source wrote, [`crate::ErrorKind::NoSpace`] when the peer
    /// has no room: parts before that were taken, ask with [`PeerClient::replica_progress`];
    /// [`crate::ErrorKind::Conflict`] when replication has ended and nobody has offered the journal since.
    pub async fn send_parts(&self, journal: JournalId, parts: &[Part]) -> Result<ReplicaProgress> {
        self.call(Method::POST, &format!("{}/parts", of(journal)), encode(parts)?).await?.json()
    }

    /// How far the peer is.
    pub async fn replica_progress(&self, journal: JournalId) -> Result<ReplicaProgress> {
        self.get(&of(journal)).await
    }

    /// Has the peer make the bases begin with what it has chosen for them, and asks how far that is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] also of a peer that cannot: then everything is to be copied.
    pub async fn prepare_replica(&self, journal: JournalId, request: Prepare) -> Result<Prepared> {
        self.post(&format!("{}/prepare", of(journal)), &request).await
    }

    /// The digests of a range of a disk as the peer shows it, after the record that is named or a later one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] before that record has come, [`crate::ErrorKind::Conflict`] before the bases are ready,
    /// [`crate::ErrorKind::Invalid`] where the answer is none to what was asked.
    pub async fn compare_replica(&self, journal: JournalId, request: Compare) -> Result<Vec<Option<Digest>>> {
        let compared: Compared = self.post(&format!("{}/digests", of(journal)), &request).await?;
        let expected = request.length_bytes.div_ceil(request.piece_bytes.max(1));
        match compared.digests.len() as u64 == expected {
            true => Ok(compared.digests),
            false => {
                Err(Error::invalid("the peer answers with another number of digests than was asked for"))
            }
        }
    }

    /// Has the peer run the VM from the last record on. May be asked again: a VM that was failed over there stays so.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] when that record has not come, or the peer cannot have such a VM: then it has done nothing.
    pub async fn hand_over(&self, journal: JournalId, request: HandOver) -> Result<TakenOver> {
        let body = serde_json::to_vec(&request)
            .map_err(|error| Error::invalid("a request cannot be written").with_source(error))?;
        self.call(Method::POST, &format!("{}/hand-over", of(journal)), body.into()).await?.json()
    }

    /// Whether the peer would run the VM, as things are there: asked before the VM is shut down. The peer does nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] when it cannot have such a VM; [`crate::ErrorKind::NotFound`] also from a peer that cannot be
    /// asked.
    pub async fn could_hand_over(&self, journal: JournalId) -> Result<()> {
        self.get(&format!("{}/hand-over", of(journal))).await
    }

    /// Ends the replication. What the peer has stays there until its operator deletes it, or with `delete` goes at once,
    /// unless somebody uses it there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] when it is to be deleted and is in use.
    pub async fn end_replica(&self, journal: JournalId, delete: bool) -> Result<()> {
        let path = format!("{}?delete={delete}", of(journal));
        self.call(Method::DELETE, &path, Bytes::new()).await?.json()
    }
}

fn of(journal: JournalId) -> String {
    format!("/peer/v1/replicas/{journal}")
}
