//! Sending disks.

use bytes::Bytes;
use hyper::Method;
use model::TransferId;

use super::PeerClient;
use crate::{
    Result,
    transfer::{Begun, Missing, Offer, Seal, Sealed},
};

impl PeerClient {
    /// Offers disks to the peer, or goes on with what was offered.
    pub async fn begin_transfer(&self, id: TransferId, offer: &Offer) -> Result<Begun> {
        self.post(&of(id), offer).await
    }

    /// Which regions of a disk the peer lacks, from this one on.
    pub async fn missing_regions(&self, id: TransferId, disk: usize, first: u64) -> Result<Missing> {
        self.get(&format!("{}/disks/{disk}/missing?first={first}", of(id))).await
    }

    /// Sends a region, encoded.
    pub async fn put_region(&self, id: TransferId, disk: usize, region: u64, body: Bytes) -> Result<()> {
        let path = format!("{}/disks/{disk}/regions/{region}", of(id));
        self.call(Method::PUT, &path, body).await?.json()
    }

    /// Says that everything was sent. Ask again as long as there is no name in the answer.
    pub async fn seal_transfer(&self, id: TransferId, seal: &Seal) -> Result<Sealed> {
        self.post(&format!("{}/seal", of(id)), seal).await
    }

    /// Gives a transfer up, and what has arrived of it.
    pub async fn abandon_transfer(&self, id: TransferId) -> Result<()> {
        self.call(Method::DELETE, &of(id), Bytes::new()).await?.json()
    }
}

fn of(id: TransferId) -> String {
    format!("/peer/v1/transfers/{id}")
}
