//! Receiving an object into memory that is there already.

use std::io::{Read, Seek, SeekFrom};

use env::Threads;
use futures::TryStreamExt;
use object_store::{Error, GetResult, GetResultPayload, Result};

use crate::pool::{self, Buffer};

/// Appends what was found to a buffer, never more than its announced length.
pub(super) async fn into_buffer(found: GetResult, mut buffer: Buffer, threads: Threads) -> Result<Buffer> {
    let start_bytes = found.range.start;
    let length_bytes = found.range.end - start_bytes;
    buffer.reserve_exact(pool::room_for(length_bytes as usize));
    match found.payload {
        GetResultPayload::File(mut file, _) => {
            let filled = threads.run(move || {
                // Of a part, the file is the whole.
                file.seek(SeekFrom::Start(start_bytes))?;
                file.take(length_bytes).read_to_end(&mut buffer).map(|_| buffer)
            });
            filled.await.map_err(failed)?.map_err(failed)
        }
        GetResultPayload::Stream(mut pieces) => {
            let end = buffer.len() + length_bytes as usize;
            while let Some(piece) = pieces.try_next().await? {
                let room = end - buffer.len();
                buffer.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            Ok(buffer)
        }
    }
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "file", source: Box::new(source) }
}
