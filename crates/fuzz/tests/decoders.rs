//! What every decoder survives, and that the fuzzer would see it if one did not.

use std::{hint::black_box, thread};

use fuzz::{CountingAllocator, Finding, Fuzzer, Target, check, shrink, targets};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Inputs for each decoder.
const RUNS: u64 = 100_000;

fn fuzz(target: &Target, runs: u64) -> Result<fuzz::Report, Finding> {
    let mut fuzzer = Fuzzer::new(target, Vec::new(), 2026);
    while fuzzer.report().runs < runs {
        fuzzer.try_input(&fuzzer.next_input())?;
    }
    Ok(fuzzer.report())
}

#[test]
fn every_decoder_survives_mutated_bytes() {
    let targets = targets().unwrap();
    thread::scope(|scope| {
        for target in &targets {
            scope.spawn(|| {
                // Full frames take a thousand times as long as anything else, and documents of people a hundred times.
                let is_slow = target.name == "frame" || target.name.starts_with("plan-");
                let runs = if is_slow { RUNS / 100 } else { RUNS };
                match fuzz(target, runs) {
                    Ok(report) => assert!(report.accepted < runs, "{} accepts anything", target.name),
                    Err(Finding { what, input }) => {
                        panic!("{}: {what}: {}", target.name, shrink(target, input).escape_ascii());
                    }
                }
            });
        }
    });
}

#[test]
fn every_decoder_accepts_its_examples() {
    for target in targets().unwrap() {
        assert!(!target.examples.is_empty(), "{} has no example", target.name);
        for example in &target.examples {
            let (answer, _) = check(&target, example).unwrap();
            assert_eq!(answer, Ok(()), "{}", target.name);
        }
    }
}

#[test]
fn a_frame_that_expands_beyond_all_bounds_takes_no_memory() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let targets = targets().unwrap();
    let frame = targets.iter().find(|target| target.name == "frame").unwrap();
    let (answer, memory_bytes) = check(frame, &bomb).unwrap();
    assert!(answer.is_err() && memory_bytes < 8 << 20, "{memory_bytes} bytes");
}

#[test]
fn a_decoder_that_panics_is_found_with_a_short_input() {
    let decode = |bytes: &[u8]| {
        let Some((&count, rest)) = bytes.split_first() else { return Err("empty".to_owned()) };
        assert!(usize::from(count) <= rest.len(), "no room for what was counted");
        Ok(())
    };
    let target = Target::new("panics", decode, vec![b"\x03abcdef".to_vec()]);
    let Finding { what, input } = fuzz(&target, RUNS).unwrap_err();
    assert_eq!(what, "the decoder panics");
    assert_eq!(shrink(&target, input).len(), 1, "a count and nothing else");
}

#[test]
fn a_decoder_that_believes_a_length_is_found() {
    let decode = |bytes: &[u8]| {
        let length = bytes.first_chunk().map(|length| u32::from_le_bytes(*length)).unwrap_or_default();
        drop(black_box(Vec::<u8>::with_capacity(length as usize)));
        Ok(())
    };
    let target = Target::new("greedy", decode, vec![b"\x03\0\0\0abc".to_vec()]);
    let Finding { what, .. } = fuzz(&target, RUNS).unwrap_err();
    assert!(what.contains("bytes of memory"), "{what}");
}
