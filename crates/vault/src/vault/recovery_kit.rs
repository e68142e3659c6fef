//! The recovery kit: a key of its own, on a page for a safe, with all that somebody needs who has nothing else.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Error, KeyFile, KeySlot, NewKey, NewSlot, Result, Vault};

/// Characters of a line of the page.
const LINE_WIDTH: usize = 80;

/// A recovery kit. It is the key: whoever has the page and reaches the store reads the vault.
#[derive(ZeroizeOnDrop)]
pub struct RecoveryKit {
    #[zeroize(skip)]
    slot: KeySlot,
    key_file: KeyFile,
    page: String,
}

impl RecoveryKit {
    /// The key slot that the kit opens.
    #[must_use]
    pub fn slot(&self) -> &KeySlot {
        &self.slot
    }

    /// The kit's key.
    #[must_use]
    pub fn key_file(&self) -> &KeyFile {
        &self.key_file
    }

    /// The page to print: plain text, lines of at most 80 characters.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }
}

impl fmt::Debug for RecoveryKit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RecoveryKit").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes a recovery kit: a new key in a slot of its own, and the page that says where the vault is and how to restore from
    /// it. `place` is where the vault is, as somebody elsewhere would reach it. Durable when it returns.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongKey`] when this handle can only write; [`crate::ErrorKind::Invalid`] for a place that
    /// cannot be printed.
    pub async fn recovery_kit(&self, place: &str) -> Result<RecoveryKit> {
        if place.chars().any(char::is_control) {
            return Err(Error::invalid("the vault's place cannot be printed: it holds control characters"));
        }
        let env = &self.shared.env;
        let now = env.clock.now().to_string();
        let date = now.split('T').next().unwrap_or_default();
        let key_file = KeyFile::generate(&*env.entropy);
        let label = format!("recovery kit {date}").parse()?;
        let slot = self.add_key(&NewSlot { key: NewKey::KeyFile(key_file.clone()), label }).await?;
        let page = self.page(place, date, &slot, &key_file);
        Ok(RecoveryKit { slot, key_file, page })
    }

    fn page(&self, place: &str, date: &str, slot: &KeySlot, key_file: &KeyFile) -> String {
        let (prefix, mut groups, check) = key_file.to_print();
        let [a, b, c, d, e, f, g, h] = &groups;
        let (vault_id, place) = (self.id(), wrapped(place, 16));
        let page = format!(
            "\
HOLDFAST RECOVERY KIT                                         made on {date}
{rule}
Whoever has this page and can reach the place below can read every backup in
this vault. Nothing else is needed: no server, no password, no other key.

    Vault       {vault_id}
    Place       {place}
    Key slot    {slot_id}

THE KEY
{rule}
    {prefix}

      group 1         group 2         group 3         group 4
      {a}    {b}    {c}    {d}

      group 5         group 6         group 7         group 8
      {e}    {f}    {g}    {h}

      last
      {check}

TO RESTORE, ON ANY LINUX MACHINE THAT REACHES THE PLACE
{rule}
 1. Install Holdfast. No server has to run.
 2. Type the key into a file kit.key: first {prefix}, then the eight
    groups, then the last digits. Leave the captions out. Spaces, line breaks,
    dashes and capitals do not matter. A typing error is found, and its group
    is named. There are only digits and the letters a to f.
 3. Where the place is in a cloud, set its credentials, e.g. AWS_ACCESS_KEY_ID
    and AWS_SECRET_ACCESS_KEY. They are not the key above.
 4. See what is there (PLACE is the place above):
        holdfast rescue list --url PLACE --key-file kit.key
 5. Restore the disks of a VM into a directory:
        holdfast rescue restore vm point:VM/latest --url PLACE \\
            --key-file kit.key --to DIRECTORY
 6. All that it can do:
        holdfast rescue --help

WHERE TO KEEP THIS PAGE
{rule}
In a safe, away from the machines that are backed up and from the store. Not
in a mailbox, not on a network. Delete the file that it was printed from.
Two copies in two buildings are better than one. Try it once a year.

TO REVOKE IT
{rule}
When the page is lost or was seen by a stranger, on the site's server:
        holdfast vault key remove VAULT \\
            {slot_id}
Then make a new kit. Who copied the objects of the store before that can still
read that copy with this page.
",
            rule = "-".repeat(LINE_WIDTH - 2),
            slot_id = slot.id,
        );
        groups.zeroize();
        page
    }
}

/// A text that may be long, in lines that are indented as the first is.
fn wrapped(text: &str, indent: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    let lines: Vec<String> =
        characters.chunks(LINE_WIDTH - indent).map(|line| line.iter().collect()).collect();
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests;
