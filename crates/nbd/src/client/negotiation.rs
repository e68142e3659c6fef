//! From the first byte to the start of the transmission.

use image::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Export;
use crate::codec::{
    Malformed, STRING_LENGTH_MAX_BYTES,
    handshake::{
        BlockSizes, GoRequest, Greeting, HandshakeFlags, Info, MetaContext, MetaContextRequest, OptionCode,
        OptionHeader, OptionReplyHeader, ReplyKind, TransmissionFlags, decode_server, encode_client_flags,
    },
};

/// The longest answer to one option, over all its replies.
const ANSWER_LENGTH_MAX_BYTES: usize = 4 << 20;

/// What a server said to an option: its payloads by kind, or a refusal.
enum Answer {
    Accepted(Vec<(ReplyKind, Vec<u8>)>),
    Refused(ReplyKind, String),
}

/// Negotiates the transmission of an export.
pub(super) async fn negotiate<S>(stream: &mut S, export: &str, contexts: &[String]) -> Result<Export>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    check_strings(export, contexts)?;
    greet(stream).await?;
    let structured = matches!(ask(stream, OptionCode::STRUCTURED_REPLY, &[]).await?, Answer::Accepted(_));
    let contexts = match structured {
        true => choose_contexts(stream, export, contexts).await?,
        false => Vec::new(),
    };
    let mut request = Vec::new();
    GoRequest { export: export.to_owned(), infos: vec![Info::BLOCK_SIZE] }.encode(&mut request);
    match ask(stream, OptionCode::GO, &request).await? {
        Answer::Accepted(replies) => describe_export(replies, structured, contexts),
        Answer::Refused(kind, message) => Err(refusal(kind, export, &message)),
    }
}

/// Lists the names of a server's exports.
pub(crate) async fn list<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Vec<String>> {
    greet(stream).await?;
    let replies = match ask(stream, OptionCode::LIST, &[]).await? {
        Answer::Accepted(replies) => replies,
        Answer::Refused(kind, message) => return Err(refusal(kind, "(list)", &message)),
    };
    let servers = replies.iter().filter(|(kind, _)| *kind == ReplyKind::SERVER);
    let exports = servers.map(|(_, payload)| decode_server(payload)).collect::<std::result::Result<_, _>>();
    // The server may close the connection instead of answering the goodbye.
    let _ = ask(stream, OptionCode::ABORT, &[]).await;
    exports.map_err(malformed)
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<()> {
    let mut greeting = [0; Greeting::LENGTH_BYTES];
    stream.read_exact(&mut greeting).await.map_err(lost)?;
    let greeting = Greeting::decode(&greeting).map_err(malformed)?;
    if !greeting.flags.contains(HandshakeFlags::FIXED_NEWSTYLE) {
        return Err(Error::new(ErrorKind::Protocol, "the server does not speak fixed newstyle NBD"));
    }
    let known = HandshakeFlags::FIXED_NEWSTYLE.0 | HandshakeFlags::NO_ZEROES.0;
    stream.write_all(&encode_client_flags(HandshakeFlags(greeting.flags.0 & known))).await.map_err(lost)
}

async fn choose_contexts<S>(stream: &mut S, export: &str, contexts: &[String]) -> Result<Vec<MetaContext>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    MetaContextRequest { export: export.to_owned(), contexts: contexts.to_vec() }.encode(&mut request);
    match ask(stream, OptionCode::SET_META_CONTEXT, &request).await? {
        Answer::Accepted(replies) => {
            let chosen = replies.iter().filter(|(kind, _)| *kind == ReplyKind::META_CONTEXT);
            chosen
                .map(|(_, payload)| MetaContext::decode(payload))
                .collect::<std::result::Result<_, _>>()
                .map_err(malformed)
        }
        // A reason that matters, such as a missing export, comes again as the answer to GO.
        Answer::Refused(..) => Ok(Vec::new()),
    }
}

/// Sends an option and reads replies up to the one that ends it.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    code: OptionCode,
    payload: &[u8],
) -> Result<Answer> {
    let mut message = Vec::new();
    OptionHeader { code, length_bytes: payload.len() as u32 }.encode(&mut message);
    message.extend_from_slice(payload);
    stream.write_all(&message).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;

    let mut replies = Vec::new();
    let mut left_bytes = ANSWER_LENGTH_MAX_BYTES;
    loop {
        let mut header = [0; OptionReplyHeader::LENGTH_BYTES];
        stream.read_exact(&mut header).await.map_err(lost)?;
        let header = OptionReplyHeader::decode(&header).map_err(malformed)?;
        if header.code != code {
            return Err(malformed(Malformed("a reply to an option that was not asked")));
        }
        let length = header.length_bytes as usize;
        left_bytes = left_bytes
            .checked_sub(OptionReplyHeader::LENGTH_BYTES)
            .and_then(|left_bytes| left_bytes.checked_sub(length))
            .ok_or(malformed(Malformed("the answer to an option is too long")))?;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.map_err(lost)?;
        match header.kind {
            ReplyKind::ACK => return Ok(Answer::Accepted(replies)),
            kind if kind.is_error() => {
                payload.truncate(STRING_LENGTH_MAX_BYTES);
                return Ok(Answer::Refused(kind, String::from_utf8_lossy(&payload).into_owned()));
            }
            kind => replies.push((kind, payload)),
        }
    }
}

fn describe_export(
    replies: Vec<(ReplyKind, Vec<u8>)>,
    structured: bool,
    contexts: Vec<MetaContext>,
) -> Result<Export> {
    let mut export: Option<(u64, TransmissionFlags)> = None;
    let mut block_sizes = BlockSizes::DEFAULT;
    for (_, payload) in replies.iter().filter(|(kind, _)| *kind == ReplyKind::INFO) {
        match Info::decode(payload).map_err(malformed)? {
            Info::Export { size_bytes, flags } => export = Some((size_bytes, flags)),
            Info::BlockSizes(sizes) => block_sizes = sizes,
            Info::Other(_) => {}
        }
    }
    let (size_bytes, flags) =
        export.ok_or(malformed(Malformed("the server began without telling the export's size")))?;
    if size_bytes > i64::MAX as u64 {
        return Err(malformed(Malformed("the export is larger than any disk")));
    }
    Ok(Export { size_bytes, flags, block_sizes, structured, contexts })
}

fn check_strings(export: &str, contexts: &[String]) -> Result<()> {
    match contexts
        .iter()
        .map(String::as_str)
        .chain([export])
        .find(|text| text.len() > STRING_LENGTH_MAX_BYTES)
    {
        Some(text) => Err(Error::new(
            ErrorKind::Protocol,
            format!("a name of {} bytes is too long for NBD", text.len()),
        )),
        None => Ok(()),
    }
}

fn refusal(kind: ReplyKind, export: &str, message: &str) -> Error {
    let (error_kind, why) = match kind {
        ReplyKind::UNKNOWN => (ErrorKind::Gone, "there is no such export"),
        ReplyKind::SHUTDOWN => (ErrorKind::Gone, "the server is shutting down"),
        ReplyKind::TLS_REQUIRED => (ErrorKind::Protocol, "the server requires TLS"),
        ReplyKind::POLICY => (ErrorKind::Protocol, "the server forbids it"),
        _ => (ErrorKind::Protocol, "the server refuses"),
    };
    Error::new(error_kind, format!("NBD export {export:?}: {why} ({message:?})"))
}

fn malformed(error: Malformed) -> Error {
    Error::new(ErrorKind::Protocol, "negotiating an NBD export").with_source(error)
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Gone, "the NBD server closed the connection during the negotiation")
        .with_source(error)
}
