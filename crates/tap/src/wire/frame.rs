//! Frames: two lengths of four bytes, little-endian; a head in JSON; a body of plain bytes.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes before the head.
const LENGTHS_BYTES: usize = 8;

/// How long the two halves of a frame may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: usize,
}

/// The lengths of a frame that is coming.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coming {
    head_bytes: usize,
    pub(crate) body_bytes: usize,
}

/// Sends a frame.
pub(crate) async fn send<S>(stream: &mut S, head: &impl Serialize, body: &[&[u8]]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let head = serde_json::to_vec(head)?;
    let body_bytes: usize = body.iter().map(|piece| piece.len()).sum();
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
    let mut start = Vec::with_capacity(LENGTHS_BYTES + head.len());
    start.extend(length(head.len())?.to_le_bytes());
    start.extend(length(body_bytes)?.to_le_bytes());
    start.extend(head);
    stream.write_all(&start).await?;
    for piece in body {
        stream.write_all(piece).await?;
    }
    stream.flush().await
}

/// Receives the lengths of a frame; none where the stream ends before it.
pub(crate) async fn coming<S>(stream: &mut S, limits: Limits) -> io::Result<Option<Coming>>
where
    S: AsyncRead + Unpin,
{
    let mut lengths = [0; LENGTHS_BYTES];
    if stream.read(&mut lengths[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut lengths[1..]).await?;
    let [a, b, c, d, e, f, g, h] = lengths;
    let head_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    let body_bytes = u32::from_le_bytes([e, f, g, h]) as usize;
    if head_bytes > limits.head_bytes || body_bytes > limits.body_bytes {
        return Err(broken(format!("a frame of {head_bytes} and {body_bytes} bytes is too long")));
    }
    Ok(Some(Coming { head_bytes, body_bytes }))
}

/// Receives what follows the lengths.
pub(crate) async fn rest<S, H>(stream: &mut S, coming: Coming) -> io::Result<(H, Vec<u8>)>
where
    S: AsyncRead + Unpin,
    H: DeserializeOwned,
{
    let mut head = vec![0; coming.head_bytes];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; coming.body_bytes];
    stream.read_exact(&mut body).await?;
    let head = serde_json::from_slice(&head).map_err(|error| broken(format!("a head: {error}")))?;
    Ok((head, body))
}

fn broken(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
