//! Key files: 32 random bytes that a person keeps.

use env::Entropy;

use super::{secret::secret_of_32_bytes, text::KEY_FILE};

secret_of_32_bytes! {
    /// A key kept in a file: `holdfast-key-1-<64 hexadecimal digits>-<8 that check them>`.
    KeyFile, KEY_FILE
}

impl KeyFile {
    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(env::random(entropy))
    }

    /// The key as it is printed: what it starts with, eight groups, and the digits that check them all.
    pub(crate) fn to_print(&self) -> (&'static str, [String; 8], String) {
        let (groups, check) = KEY_FILE.write_groups(&self.0);
        (KEY_FILE.prefix(), groups, check)
    }
}
