//! One decoder and one input after the other.

use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
};

use crate::{
    allocation,
    mutation::{Dice, mutate},
    target::Target,
};

/// The longest input.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Bytes of memory that a decoder may take for each byte of its input: a table's entries in memory, and the tables that were
/// too small for them on the way.
const BYTES_PER_BYTE: usize = 64;

/// Inputs that are mutated further; beyond them, a new one takes an old one's place.
const INPUTS_MAX: usize = 4096;

/// An input at which a decoder fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What the decoder did.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Inputs that were tried.
    pub runs: u64,
    /// Those that the decoder accepted.
    pub accepted: u64,
    /// Different answers of the decoder.
    pub answers: usize,
    /// The most bytes of memory that an input took.
    pub memory_bytes_max: usize,
}

/// Fuzzes one decoder.
pub struct Fuzzer<'a> {
    target: &'a Target,
    inputs: Vec<Vec<u8>>,
    /// How many of them there were at the start: they are tried as they are.
    given: u64,
    /// Answers that were heard, each with the magnitude of its input.
    heard: BTreeSet<(String, u32)>,
    dice: Dice,
    report: Report,
}

impl<'a> Fuzzer<'a> {
    /// Starts from the decoder's examples and the inputs of earlier runs.
    #[must_use]
    pub fn new(target: &'a Target, inputs: Vec<Vec<u8>>, seed: u64) -> Self {
        let inputs: Vec<_> = target.examples.iter().cloned().chain(inputs).chain([Vec::new()]).collect();
        let given = inputs.len() as u64;
        Self {
            target,
            inputs,
            given,
            heard: BTreeSet::new(),
            dice: Dice::new(seed),
            report: Report::default(),
        }
    }

    /// The next input.
    #[must_use]
    pub fn next_input(&self) -> Vec<u8> {
        if self.report.runs < self.given {
            return self.inputs[self.report.runs as usize].clone();
        }
        let input = self.dice.pick(&self.inputs).map_or(&[][..], |input| input);
        let other = self.dice.pick(&self.inputs).map_or(&[][..], |input| input);
        mutate(input, other, INPUT_BYTES_MAX.max(input.len()), &self.dice)
    }

    /// Gives an input to the decoder. Returns whether the decoder gave an answer that was not heard before: such an input is
    /// worth keeping, and is mutated further.
    ///
    /// # Errors
    /// What the decoder may not do.
    pub fn try_input(&mut self, input: &[u8]) -> Result<bool, Finding> {
        let is_given = self.report.runs < self.given;
        let (answer, memory_bytes) = match check(self.target, input) {
            Ok(done) => done,
            Err(what) => return Err(Finding { what, input: input.to_vec() }),
        };
        self.report.runs += 1;
        self.report.accepted += u64::from(answer.is_ok());
        self.report.memory_bytes_max = self.report.memory_bytes_max.max(memory_bytes);
        let is_new = self.heard.insert((shape(answer), input.len().checked_ilog2().map_or(0, |log| log + 1)));
        if is_new && !is_given {
            if self.inputs.len() < INPUTS_MAX {
                self.inputs.push(input.to_vec());
            } else {
                let place = self.dice.below(INPUTS_MAX);
                self.inputs[place] = input.to_vec();
            }
        }
        Ok(is_new && !is_given)
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report { answers: self.heard.len(), ..self.report }
    }
}

/// Gives an input to a decoder. Returns its answer, and the bytes of memory that it took.
///
/// # Errors
/// What the decoder may not do.
pub fn check(target: &Target, input: &[u8]) -> Result<(Result<(), String>, usize), String> {
    let decode = || panic::catch_unwind(AssertUnwindSafe(|| (target.decode)(input)));
    let (decoded, memory_bytes) = allocation::most_held(decode);
    let answer = decoded.map_err(|_| "the decoder panics".to_owned())?;
    let limit_bytes = target.fixed_bytes + BYTES_PER_BYTE * input.len();
    if memory_bytes > limit_bytes {
        return Err(format!(
            "the decoder takes {memory_bytes} bytes of memory for {} bytes of input; {limit_bytes} are the limit",
            input.len()
        ));
    }
    Ok((answer, memory_bytes))
}

/// A shorter input at which the decoder fails too.
#[must_use]
pub fn shrink(target: &Target, input: Vec<u8>) -> Vec<u8> {
    let mut input = input;
    let mut length = input.len() / 2;
    while length > 0 {
        let mut start = 0;
        while start + length <= input.len() {
            let mut shorter = input.clone();
            shorter.drain(start..start + length);
            if check(target, &shorter).is_err() {
                input = shorter;
            } else {
                start += length;
            }
        }
        length /= 2;
    }
    input
}

/// An answer without its numbers and names, so that not every input has one of its own.
fn shape(answer: Result<(), String>) -> String {
    let Err(why) = answer else { return String::new() };
    why.chars().filter(|letter| letter.is_ascii_alphabetic() || *letter == ' ').take(120).collect()
}
