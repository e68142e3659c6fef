//! From the first byte to the start of the transmission.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Exports,
    exports::{Exported, Opened},
};
use crate::{
    BASE_ALLOCATION,
    codec::{
        Malformed,
        handshake::{
            GoRequest, Greeting, HandshakeFlags, Info, MetaContext, MetaContextRequest, OptionCode,
            OptionHeader, OptionReplyHeader, ReplyKind, decode_client_flags, encode_export_name_reply,
            encode_server,
        },
    },
};

/// The longest payload of an option: a name of 4 KiB and all the facts that can be numbered, twice over.
const OPTION_LENGTH_MAX_BYTES: u32 = 256 << 10;

/// The id of `base:allocation` on every connection.
pub(super) const ALLOCATION_ID: u32 = 1;

/// What a client and we have agreed on.
pub(super) struct Session {
    pub(super) opened: Opened,
    /// Whether replies are structured.
    pub(super) structured: bool,
    /// Whether the client may ask which ranges are zero.
    pub(super) tells_allocation: bool,
}

/// How a negotiation ends.
pub(super) enum Outcome {
    /// With the transmission.
    Begin(Session),
    /// With a TLS handshake, after which it begins anew.
    Secure,
    /// With the end of the connection.
    Leave,
}

/// Exchanges the greeting; gives what both sides can do.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<HandshakeFlags> {
    let mut out = Vec::new();
    let known = HandshakeFlags(HandshakeFlags::FIXED_NEWSTYLE.0 | HandshakeFlags::NO_ZEROES.0);
    Greeting { flags: known }.encode(&mut out);
    stream.write_all(&out).await?;
    let mut flags = [0; 4];
    stream.read_exact(&mut flags).await?;
    decode_client_flags(flags).map_err(broken)
}

/// Answers options up to the one that ends the negotiation.
pub(super) async fn negotiate<S>(stream: &mut S, mut negotiation: Negotiation<'_>) -> io::Result<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    loop {
        let mut header = [0; OptionHeader::LENGTH_BYTES];
        stream.read_exact(&mut header).await?;
        let header = OptionHeader::decode(&header).map_err(broken)?;
        if header.length_bytes > OPTION_LENGTH_MAX_BYTES {
            return Err(broken(Malformed("an option is too long")));
        }
        let mut payload = vec![0; header.length_bytes as usize];
        stream.read_exact(&mut payload).await?;
        out.clear();
        let step = negotiation.take(header.code, &payload, &mut out);
        stream.write_all(&out).await?;
        stream.flush().await?;
        if let Step::End(outcome) = step {
            return Ok(outcome);
        }
    }
}

/// What follows an option.
enum Step {
    Stay,
    End(Outcome),
}

/// What has been agreed on so far.
pub(super) struct Negotiation<'a> {
    exports: &'a Exports,
    flags: HandshakeFlags,
    /// Whether the client must ask for TLS before anything else.
    wants_tls: bool,
    structured: bool,
    /// The export of which the client has chosen `base:allocation`.
    allocation_of: Option<String>,
}

impl<'a> Negotiation<'a> {
    pub(super) fn new(exports: &'a Exports, flags: HandshakeFlags, wants_tls: bool) -> Self {
        Self { exports, flags, wants_tls, structured: false, allocation_of: None }
    }

    /// Answers an option.
    fn take(&mut self, code: OptionCode, payload: &[u8], out: &mut Vec<u8>) -> Step {
        let answered = match code {
            OptionCode::ABORT => {
                reply(out, code, ReplyKind::ACK, &[]);
                return Step::End(Outcome::Leave);
            }
            OptionCode::START_TLS if self.wants_tls => {
                // What a client has sent ahead would be read as the handshake's, and break it.
                reply(out, code, ReplyKind::ACK, &[]);
                return Step::End(Outcome::Secure);
            }
            // It has no way to be refused.
            OptionCode::EXPORT_NAME if self.wants_tls => return Step::End(Outcome::Leave),
            _ if self.wants_tls => Err(Refusal(ReplyKind::TLS_REQUIRED, "this server wants TLS first")),
            OptionCode::EXPORT_NAME => return self.begin_in_old_way(payload, out),
            OptionCode::GO | OptionCode::INFO => self.describe(code, payload, out),
            OptionCode::LIST => self.list(payload, out).map(|()| Step::Stay),
            OptionCode::STRUCTURED_REPLY => self.structure(payload).map(|()| {
                reply(out, code, ReplyKind::ACK, &[]);
                Step::Stay
            }),
            OptionCode::SET_META_CONTEXT | OptionCode::LIST_META_CONTEXT => {
                self.contexts(code, payload, out).map(|()| Step::Stay)
            }
            _ => Err(Refusal(ReplyKind::UNSUPPORTED, "this server does not know the option")),
        };
        answered.unwrap_or_else(|Refusal(kind, text)| {
            reply(out, code, kind, text.as_bytes());
            Step::Stay
        })
    }

    fn session(&self, exported: Exported, export: &str) -> Session {
        let tells_allocation = self.structured && self.allocation_of.as_deref() == Some(export);
        Session { opened: exported.begin(), structured: self.structured, tells_allocation }
    }

    /// The option has no way to refuse: a client that names what is not there is cut off.
    fn begin_in_old_way(&self, payload: &[u8], out: &mut Vec<u8>) -> Step {
        let Ok(name) = std::str::from_utf8(payload) else { return Step::End(Outcome::Leave) };
        let Some(exported) = self.exports.find(name) else { return Step::End(Outcome::Leave) };
        let zeroes = !self.flags.contains(HandshakeFlags::NO_ZEROES);
        out.extend(encode_export_name_reply(exported.size_bytes(), exported.flags(), zeroes));
        Step::End(Outcome::Begin(self.session(exported, name)))
    }

    fn describe(&self, code: OptionCode, payload: &[u8], out: &mut Vec<u8>) -> Result<Step, Refusal> {
        let request = GoRequest::decode(payload)?;
        let exported = self.exports.find(&request.export).ok_or(UNKNOWN)?;
        let export = Info::Export { size_bytes: exported.size_bytes(), flags: exported.flags() };
        for info in [export, Info::BlockSizes(exported.block_sizes())] {
            let mut payload = Vec::new();
            info.encode(&mut payload);
            reply(out, code, ReplyKind::INFO, &payload);
        }
        reply(out, code, ReplyKind::ACK, &[]);
        match code {
            OptionCode::GO => Ok(Step::End(Outcome::Begin(self.session(exported, &request.export)))),
            _ => Ok(Step::Stay),
        }
    }

    fn list(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        expect_empty(payload)?;
        for name in self.exports.names() {
            let mut server = Vec::new();
            encode_server(&name, &mut server);
            reply(out, OptionCode::LIST, ReplyKind::SERVER, &server);
        }
        reply(out, OptionCode::LIST, ReplyKind::ACK, &[]);
        Ok(())
    }

    fn structure(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        expect_empty(payload)?;
        self.structured = true;
        Ok(())
    }

    fn contexts(&mut self, code: OptionCode, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let chooses = code == OptionCode::SET_META_CONTEXT;
        if chooses {
            self.allocation_of = None;
        }
        let request = MetaContextRequest::decode(payload)?;
        if !self.structured {
            return Err(Refusal(ReplyKind::INVALID, "metadata contexts need structured replies"));
        }
        let exported = self.exports.find(&request.export).ok_or(UNKNOWN)?;
        // Nothing is known of what a target holds.
        let is_image = matches!(exported, Exported::Image(_));
        let names_it = is_image && request.contexts.iter().any(|it| it == BASE_ALLOCATION);
        // A list without queries, or with that of the namespace, asks for all there are.
        let lists_all = request.contexts.is_empty() || request.contexts.iter().any(|it| it == "base:");
        let lists_it = is_image && lists_all;
        if names_it || !chooses && lists_it {
            let mut context = Vec::new();
            MetaContext { id: ALLOCATION_ID, name: BASE_ALLOCATION.to_owned() }.encode(&mut context);
            reply(out, code, ReplyKind::META_CONTEXT, &context);
        }
        if names_it && chooses {
            self.allocation_of = Some(request.export);
        }
        reply(out, code, ReplyKind::ACK, &[]);
        Ok(())
    }
}

/// Why an option is refused.
struct Refusal(ReplyKind, &'static str);

const UNKNOWN: Refusal = Refusal(ReplyKind::UNKNOWN, "there is no such export");

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        Self(ReplyKind::INVALID, error.0)
    }
}

fn expect_empty(payload: &[u8]) -> Result<(), Refusal> {
    if payload.is_empty() { Ok(()) } else { Err(Malformed("the option has no payload").into()) }
}

fn reply(out: &mut Vec<u8>, code: OptionCode, kind: ReplyKind, payload: &[u8]) {
    OptionReplyHeader { code, kind, length_bytes: payload.len() as u32 }.encode(out);
    out.extend_from_slice(payload);
}

fn broken(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
