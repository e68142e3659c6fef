//! Secrets of 32 bytes: wiped from memory when dropped, never shown, and written as one line of text.

macro_rules! secret_of_32_bytes {
    ($(#[$doc:meta])* $name:ident, $form:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The secret of these bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The text to write into a file, with its line end.
            #[must_use]
            pub fn to_text(&self) -> String {
                $form.write(&self.0)
            }

            pub(crate) fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            /// Reads the text, in one line or in groups as it is printed. White space, dashes and capitals do not matter;
            /// typing errors are told.
            fn from_str(text: &str) -> $crate::Result<Self> {
                $form.read(text).map(Self)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

pub(super) use secret_of_32_bytes;

use super::text::MASTER_KEY;

secret_of_32_bytes! {
    /// The key that opens everything in a vault.
    MasterKey, MASTER_KEY
}
