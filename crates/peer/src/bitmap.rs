//! A bit for each region of a disk.

/// A set of numbers below a limit.
#[derive(Debug, Clone)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    length: u64,
}

impl Bitmap {
    pub(crate) fn new(length: u64) -> Self {
        Self { words: vec![0; length.div_ceil(64) as usize], length }
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.words.get((number / 64) as usize).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, number: u64, is_in: bool) {
        if let Some(word) = self.words.get_mut((number / 64) as usize).filter(|_| number < self.length) {
            *word = *word & !(1 << (number % 64)) | u64::from(is_in) << (number % 64);
        }
    }

    /// Adds a run of numbers, cut to the limit.
    pub(crate) fn add(&mut self, first: u64, count: u64) {
        for number in first..first.saturating_add(count).min(self.length) {
            self.set(number, true);
        }
    }

    /// The first number from here on that is in the set, or that is not.
    pub(crate) fn next(&self, from: u64, is_in: bool) -> Option<u64> {
        let mut number = from;
        while number < self.length {
            let word = self.words[(number / 64) as usize];
            let rest = (if is_in { word } else { !word }) >> (number % 64);
            if rest != 0 {
                return Some(number + u64::from(rest.trailing_zeros())).filter(|&found| found < self.length);
            }
            number = (number / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests;
