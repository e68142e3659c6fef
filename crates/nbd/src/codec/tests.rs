use proptest::{collection::vec, prelude::*};

use super::{
    Malformed,
    handshake::{
        BlockSizes, GoRequest, Greeting, HandshakeFlags, Info, MetaContext, MetaContextRequest, OptionCode,
        OptionHeader, OptionReplyHeader, ReplyKind, TransmissionFlags, decode_server, encode_client_flags,
        encode_server,
    },
    transmission::{
        BlockDescriptor, BlockStatus, ChunkError, ChunkKind, Command, Cookie, ErrorCode, Hole, ReplyHeader,
        Request,
    },
};

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

/// What nbdinfo and qemu-nbd send each other, byte for byte.
#[test]
fn messages_have_the_bytes_of_the_protocol() {
    let flags = HandshakeFlags(3);
    assert_eq!(encoded(|out| Greeting { flags }.encode(out)), b"NBDMAGICIHAVEOPT\x00\x03");
    assert_eq!(encode_client_flags(flags), [0, 0, 0, 3]);

    let option = OptionHeader { code: OptionCode::STRUCTURED_REPLY, length_bytes: 0 };
    assert_eq!(encoded(|out| option.encode(out)), b"IHAVEOPT\0\0\0\x08\0\0\0\0");
    let reply = OptionReplyHeader { code: OptionCode::GO, kind: ReplyKind::UNKNOWN, length_bytes: 1 };
    assert_eq!(
        encoded(|out| reply.encode(out)),
        b"\x00\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x07\x80\0\0\x06\0\0\0\x01"
    );

    let go = GoRequest { export: "root".to_owned(), infos: vec![Info::BLOCK_SIZE] };
    assert_eq!(encoded(|out| go.encode(out)), b"\0\0\0\x04root\0\x01\0\x03");
    let contexts =
        MetaContextRequest { export: String::new(), contexts: vec![crate::BASE_ALLOCATION.to_owned()] };
    assert_eq!(encoded(|out| contexts.encode(out)), b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation");

    let (cookie, offset_bytes, length_bytes) = (Cookie(0x0102_0304_0506_0708), 0x1_0000_0000, 0x2000);
    let request = Request { flags: 0, command: Command::BLOCK_STATUS, cookie, offset_bytes, length_bytes };
    assert_eq!(
        request.encode(),
        *b"\x25\x60\x95\x13\0\0\0\x07\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\x01\0\0\0\0\0\0\x20\0"
    );
    let simple = ReplyHeader::Simple { cookie: Cookie(1), error: ErrorCode::IO };
    assert_eq!(encoded(|out| simple.encode(out)), b"\x67\x44\x66\x98\0\0\0\x05\0\0\0\0\0\0\0\x01");
    let chunk =
        ReplyHeader::Chunk { cookie: Cookie(1), is_last: true, kind: ChunkKind::ERROR, length_bytes: 6 };
    assert_eq!(
        encoded(|out| chunk.encode(out)),
        b"\x66\x8e\x33\xef\0\x01\x80\x01\0\0\0\0\0\0\0\x01\0\0\0\x06"
    );
}

#[test]
fn messages_that_make_no_sense_are_refused() {
    assert!(Greeting::decode(b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\0\0").is_err(), "oldstyle");
    for (minimum_bytes, maximum_bytes) in [(0, 4096), (3, 4096), (128 << 10, 1 << 20), (4096, 512)] {
        let sizes = Info::BlockSizes(BlockSizes { minimum_bytes, preferred_bytes: 4096, maximum_bytes });
        assert!(Info::decode(&encoded(|out| sizes.encode(out))).is_err(), "{sizes:?}");
    }
    for descriptors in [vec![], vec![BlockDescriptor { length_bytes: 0, flags: 0 }]] {
        let status = BlockStatus { context_id: 1, descriptors };
        assert!(BlockStatus::decode(&encoded(|out| status.encode(out))).is_err(), "{status:?}");
    }
    let no_error = ChunkError { code: ErrorCode::OK, message: String::new() };
    assert!(ChunkError::decode(&encoded(|out| no_error.encode(out))).is_err());
    assert!(decode_server(b"\0\0\0\x02\xff\xfe").is_err(), "not UTF-8");
    assert!(decode_server(b"\xff\xff\xff\xff").is_err(), "a length of 4 GiB");
    assert!(MetaContextRequest::decode(b"\0\0\0\0\xff\xff\xff\xff").is_err(), "four billion contexts");
    let long = "x".repeat(super::STRING_LENGTH_MAX_BYTES + 1);
    assert!(decode_server(&encoded(|out| encode_server(&long, out))).is_err());
}

/// Decoding gives back what was encoded, and neither a shorter nor a longer message is accepted.
fn check_exact<T: PartialEq + std::fmt::Debug>(
    message: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
) -> Result<(), TestCaseError> {
    let decoded = decode(bytes);
    prop_assert_eq!(decoded.as_ref(), Ok(message));
    prop_assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    prop_assert!(decode(&[bytes, &[0]].concat()).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn headers_survive(code: u32, kind: u32, length_bytes: u32, flags: u16) {
        let greeting = Greeting { flags: HandshakeFlags(flags) };
        check_exact(&greeting, &encoded(|out| greeting.encode(out)), Greeting::decode)?;
        let option = OptionHeader { code: OptionCode(code), length_bytes };
        check_exact(&option, &encoded(|out| option.encode(out)), OptionHeader::decode)?;
        let reply = OptionReplyHeader { code: OptionCode(code), kind: ReplyKind(kind), length_bytes };
        check_exact(&reply, &encoded(|out| reply.encode(out)), OptionReplyHeader::decode)?;
    }

    #[test]
    fn option_payloads_survive(export in ".{0,40}", infos: Vec<u16>, contexts in vec(".{0,20}", 0..5), id: u32) {
        let go = GoRequest { export: export.clone(), infos };
        check_exact(&go, &encoded(|out| go.encode(out)), GoRequest::decode)?;
        let request = MetaContextRequest { export: export.clone(), contexts };
        check_exact(&request, &encoded(|out| request.encode(out)), MetaContextRequest::decode)?;
        prop_assert_eq!(decode_server(&encoded(|out| encode_server(&export, out))), Ok(export.clone()));
        let context = MetaContext { id, name: export };
        prop_assert_eq!(MetaContext::decode(&encoded(|out| context.encode(out))), Ok(context));
    }

    #[test]
    fn facts_survive(size_bytes: u64, flags: u16, shift in 0..17u32, preferred_bytes: u32, more: u16, number in 4..u16::MAX) {
        let export = Info::Export { size_bytes, flags: TransmissionFlags(flags) };
        check_exact(&export, &encoded(|out| export.encode(out)), Info::decode)?;
        let minimum_bytes = 1 << shift;
        let sizes = BlockSizes { minimum_bytes, preferred_bytes, maximum_bytes: minimum_bytes + u32::from(more) };
        let info = Info::BlockSizes(sizes);
        check_exact(&info, &encoded(|out| info.encode(out)), Info::decode)?;
        prop_assert_eq!(Info::decode(&encoded(|out| Info::Other(number).encode(out))), Ok(Info::Other(number)));
    }

    #[test]
    fn transmission_headers_survive(flags: u16, command: u16, cookie: u64, offset_bytes: u64, length_bytes: u32, is_last: bool) {
        let cookie = Cookie(cookie);
        let request = Request { flags, command: Command(command), cookie, offset_bytes, length_bytes };
        check_exact(&request, &request.encode(), Request::decode)?;
        let simple = ReplyHeader::Simple { cookie, error: ErrorCode(length_bytes) };
        let chunk = ReplyHeader::Chunk { cookie, is_last, kind: ChunkKind(command), length_bytes };
        for header in [simple, chunk] {
            let bytes = encoded(|out| header.encode(out));
            check_exact(&header, &bytes, ReplyHeader::decode)?;
            prop_assert_eq!(ReplyHeader::length_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), Ok(bytes.len()));
        }
    }

    #[test]
    fn chunks_survive(offset_bytes: u64, length_bytes: u32, context_id: u32, runs in vec((1u32.., any::<u32>()), 1..20), code in 1u32.., message in ".{0,40}") {
        let hole = Hole { offset_bytes, length_bytes };
        check_exact(&hole, &encoded(|out| hole.encode(out)), Hole::decode)?;
        let descriptors = runs.into_iter().map(|(length_bytes, flags)| BlockDescriptor { length_bytes, flags }).collect();
        let status = BlockStatus { context_id, descriptors };
        check_exact(&status, &encoded(|out| status.encode(out)), BlockStatus::decode)?;
        let error = ChunkError { code: ErrorCode(code), message };
        prop_assert_eq!(ChunkError::decode(&encoded(|out| error.encode(out))), Ok(error));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>) {
        let _ = (Greeting::decode(&bytes), OptionHeader::decode(&bytes), OptionReplyHeader::decode(&bytes));
        let _ = (GoRequest::decode(&bytes), MetaContextRequest::decode(&bytes), MetaContext::decode(&bytes));
        let _ = (Info::decode(&bytes), decode_server(&bytes), Request::decode(&bytes), ReplyHeader::decode(&bytes));
        let _ = (Hole::decode(&bytes), BlockStatus::decode(&bytes), ChunkError::decode(&bytes));
    }
}
