use super::*;

/// Text, which compresses, and its frame.
fn compressed(length: usize) -> (Vec<u8>, CompressedFrame) {
    let bytes: Vec<u8> = (0_u32..).flat_map(|number| number.to_string().into_bytes()).take(length).collect();
    let buffers = BufferPool::of_capacity(0);
    let mut frame = RawFrame::new(FrameKind::Data, &buffers);
    frame.push(ChunkId([1; 32]), &bytes);
    (bytes, Compressors::new(1, buffers).compress(frame).unwrap())
}

fn head_of(frame: &CompressedFrame) -> FrameHead {
    let stored_bytes = (frame.bytes.len() + TAG_BYTES) as u32;
    FrameHead { kind: frame.kind, encoding: frame.encoding, stored_bytes, raw_bytes: frame.raw_bytes }
}

#[test]
fn a_frame_starts_as_all_of_it_does() {
    let (bytes, frame) = compressed(1 << 20);
    let (head, decompressors) = (head_of(&frame), Decompressors::new());
    assert_eq!(head.encoding, Encoding::Zstd);
    for wanted_bytes in [1, 4096, 128 << 10, (128 << 10) + 1, 500_000, 1 << 20] {
        let start = decompressors.expand_start(&head, &frame.bytes, wanted_bytes).unwrap();
        assert!(start.len() >= wanted_bytes as usize && start == bytes[..start.len()], "{wanted_bytes}");
    }
    let start = decompressors.expand_start(&head, &frame.bytes, 4096).unwrap();
    assert!(start.len() < bytes.len() / 4, "little more is expanded than is wanted");
}

#[test]
fn the_start_of_a_frame_that_is_too_short_or_no_frame_is_an_error() {
    let (_, frame) = compressed(1 << 20);
    let (head, decompressors) = (head_of(&frame), Decompressors::new());
    for damaged in [&frame.bytes[..100], &[], b"no frame at all"] {
        assert!(decompressors.expand_start(&head, damaged, 300_000).is_err());
    }
    let (bytes, _) = compressed(100);
    let raw = FrameHead { encoding: Encoding::Raw, ..head };
    assert!(decompressors.expand_start(&raw, &bytes, 300_000).is_err());
    decompressors
        .expand_start(&head, &frame.bytes, 300_000)
        .expect("a decompressor that failed is as good as new");
}
