use env::{Env, SeededEntropy};
use model::{Timestamp, VaultId};
use zeroize::Zeroizing;

use super::{
    Identity, KeptKey, KeyFile, KeyLabel, Keys, MasterKey, NewKey, NewSlot, Passphrase, PrivateKey,
    ReaderKey, Recipient, Unlock, WriterKey, open_slot,
    passphrase::Cost,
    slot::{SLOT_BYTES, Slot},
};
use crate::{Config, ErrorKind, Result, frame::FrameKind, seal::Role};

fn master() -> MasterKey {
    MasterKey::from_bytes([3; 32])
}

fn vault_id() -> VaultId {
    VaultId::from_random([1; 10])
}

fn keys() -> Keys {
    Keys::full(master(), vault_id())
}

fn write_only_keys() -> Keys {
    Keys::write_only(keys().writer().clone(), vault_id())
}

fn key_file() -> KeyFile {
    KeyFile::generate(&SeededEntropy::new(2))
}

fn identity() -> Identity {
    Identity::generate(&SeededEntropy::new(4))
}

fn slot(key: NewKey) -> Slot {
    let label = "ops safe, printed kit".parse().unwrap();
    Slot::wrap(&keys(), &NewSlot { key, label }, &Env::seeded(1)).unwrap()
}

fn opened(slots: &[Slot], unlock: &Unlock) -> Result<Option<Keys>> {
    let config = Config::new(vault_id(), Timestamp::from_microseconds(0), keys().reader_key());
    open_slot(slots, unlock, &config, &keys().config_proof(&config))
}

#[test]
fn a_key_survives_text() {
    let text = key_file().to_text();
    assert!(text.ends_with('\n') && text.lines().count() == 1);
    assert!(text.parse::<KeyFile>().unwrap() == key_file());
    let typed = format!("\n  {}\n", text.to_uppercase().replace('-', " \u{2013} "));
    assert!(typed.parse::<KeyFile>().unwrap() == key_file());
    let recipient = identity().recipient();
    assert_eq!(recipient.to_string().parse::<Recipient>().unwrap(), recipient);
    assert!(identity().to_text().parse::<Identity>().unwrap() == identity());
    for kept in [KeptKey::Master(master()), KeptKey::Writer(keys().writer().clone())] {
        assert_eq!(kept.to_text().parse::<KeptKey>().unwrap(), kept);
    }
    assert!(text.parse::<Identity>().is_err() && text.parse::<KeptKey>().is_err(), "each kind has its name");
}

#[test]
fn every_typing_error_in_a_key_file_is_caught() {
    let text = key_file().to_text();
    for (place, found) in text.trim_end().bytes().enumerate() {
        let mut typed = text.clone().into_bytes();
        typed[place] = if found == b'0' { b'1' } else { b'0' };
        assert!(String::from_utf8(typed).unwrap().parse::<KeyFile>().is_err(), "at {place}");
    }
    for text in ["", "holdfast-key-1", "holdfast-key-1-", "holdfast-key-2-00", &text[..40]] {
        assert!(text.parse::<KeyFile>().is_err(), "{text}");
    }
}

/// The key as it is on paper.
fn printed() -> (&'static str, [String; 8], String) {
    key_file().to_print()
}

#[test]
fn a_key_typed_from_paper_is_read_however_it_is_typed() {
    let (prefix, groups, check) = printed();
    let text = format!("{prefix}\n{}\n{check}", groups.join("   "));
    assert!(text.parse::<KeyFile>().unwrap() == key_file());
    let text = text.to_uppercase().replace('0', "O").replace('1', "l").replace('-', "");
    assert!(text.replace("KEYl", "KEY1").parse::<KeyFile>().unwrap() == key_file(), "{text}");
}

#[test]
fn a_typing_error_on_paper_names_its_group() {
    let (prefix, groups, check) = printed();
    let read = |groups: &[String], check: &str| {
        let typed = format!("{prefix} {} {check}", groups.join(" ")).parse::<KeyFile>();
        typed.unwrap_err().to_string()
    };
    for number in 0..8 {
        let mut typed = groups.clone();
        let digit = if typed[number].ends_with('7') { "8" } else { "7" };
        typed[number].replace_range(11.., digit);
        assert!(read(&typed, &check).contains(&format!("group {}", number + 1)));
        typed[number].pop();
        assert!(read(&typed, &check).contains(&format!("group {}", number + 1)), "a digit too few");
    }
    let mut swapped = groups.clone();
    swapped.swap(2, 5);
    assert!(read(&swapped, &check).contains("group 3"));
    assert!(read(&groups, "00000000").contains("last digits"));
    assert!(read(&groups, &check[1..]).contains("last digits"));
}

#[test]
fn a_slot_opens_for_its_own_key_only_and_only_unchanged() {
    for (key, unlock) in [
        (NewKey::KeyFile(key_file()), Unlock::KeyFile(key_file())),
        (NewKey::Recipient(identity().recipient()), Unlock::Identity(identity())),
    ] {
        let slot = slot(key);
        let bytes = slot.encode();
        assert_eq!(bytes.len(), SLOT_BYTES);
        assert!(
            opened(std::slice::from_ref(&slot), &unlock).unwrap().unwrap().master().unwrap() == &master()
        );
        for stranger in [
            Unlock::KeyFile(KeyFile::from_bytes([9; 32])),
            Unlock::Identity(Identity::from_bytes([9; 32])),
            Unlock::Passphrase(Passphrase::new("x")),
        ] {
            assert!(opened(std::slice::from_ref(&slot), &stranger).unwrap().is_none());
        }
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 4;
            let Ok(slot) = Slot::decode(&altered) else { continue };
            assert!(slot.open_label(&keys()).is_err(), "at {place}");
            let is_label = place >= SLOT_BYTES - 64;
            assert_eq!(opened(&[slot], &unlock).unwrap().is_some(), is_label, "at {place}");
        }
    }
}

#[test]
fn a_slot_that_asks_for_too_much_memory_is_refused_unread() {
    let mut bytes = slot(NewKey::Passphrase(Passphrase::new("x"))).encode();
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Slot::decode(&bytes).is_err());
    bytes[12..24].fill(0);
    assert!(Slot::decode(&bytes).is_err(), "nothing at all is no cost");
}

#[test]
fn a_slot_of_another_master_key_does_not_stand_in_the_way_of_the_owner() {
    // Who knows a recipient can make a slot that opens.
    let other = Keys::full(MasterKey::from_bytes([8; 32]), vault_id());
    let new = NewSlot::unlabelled(NewKey::Recipient(identity().recipient()));
    let planted = Slot::wrap(&other, &new, &Env::seeded(6)).unwrap();
    let unlock = Unlock::Identity(identity());
    let own = slot(NewKey::Recipient(identity().recipient()));
    assert!(opened(&[planted.clone(), own], &unlock).unwrap().is_some());
    assert_eq!(opened(std::slice::from_ref(&planted), &unlock).err().unwrap().kind(), ErrorKind::Corrupt);
    assert!(planted.open_label(&keys()).is_err());
}

#[test]
fn a_passphrase_is_stretched_for_its_vault() {
    let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    let stretch = |text: &str, vault: u8| -> Zeroizing<[u8; 32]> {
        cost.stretch(&Passphrase::new(text), VaultId::from_random([vault; 10])).unwrap()
    };
    assert_eq!(stretch("x", 1), stretch("x", 1));
    assert_ne!(stretch("x", 1), stretch("y", 1));
    assert_ne!(stretch("x", 1), stretch("x", 2));
}

#[test]
fn ids_depend_on_key_vault_and_kind() {
    let keys = |byte: u8, vault: u8| {
        Keys::full(MasterKey::from_bytes([byte; 32]), VaultId::from_random([vault; 10]))
    };
    let id = keys(1, 1).chunk_id(FrameKind::Data, b"x");
    assert_eq!(id, keys(1, 1).chunk_id(FrameKind::Data, b"x"));
    assert_ne!(id, keys(1, 1).chunk_id(FrameKind::Tree, b"x"));
    assert_ne!(id, keys(1, 2).chunk_id(FrameKind::Data, b"x"));
    assert_ne!(id, keys(2, 1).chunk_id(FrameKind::Data, b"x"));
    assert_eq!(
        write_only_keys().chunk_id(FrameKind::Data, b"x"),
        super::tests::keys().chunk_id(FrameKind::Data, b"x")
    );
}

#[test]
fn what_a_writer_seals_for_the_reader_only_the_reader_opens() {
    let ephemeral = PrivateKey::from_bytes(&[7; 32]);
    let header = || b"header".to_vec();
    let mut sealed = b"data".to_vec();
    write_only_keys().seal_for_reader(&ephemeral, header()).unwrap().close(Role::Frame, 0, &mut sealed, 0);
    let error = write_only_keys().seal_of_reader(ephemeral.public(), header()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert!(error.guidance().is_some());
    let open = |keys: &Keys, header: &[u8]| {
        let seal = keys.seal_of_reader(ephemeral.public(), header.to_vec()).unwrap();
        seal.open(Role::Frame, 0, &mut sealed.clone()).is_ok()
    };
    assert!(open(&keys(), b"header"));
    assert!(!open(&keys(), b"Header"));
    assert!(!open(&Keys::full(MasterKey::from_bytes([4; 32]), vault_id()), b"header"));
}

#[test]
fn public_keys_that_are_nobodys_are_refused() {
    // Points of small order (RFC 7748, 6.1): with any private key they agree on zeros.
    let order_eight = bytes_of("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    let mut one = [0; 32];
    one[0] = 1;
    for public in [[0; 32], one, order_eight] {
        assert_eq!(keys().seal_of_reader(&public, Vec::new()).err().unwrap().kind(), ErrorKind::Corrupt);
        let hostile =
            Keys::write_only(WriterKey::new(*keys().writer().as_bytes(), ReaderKey(public)), vault_id());
        let sealed = hostile.seal_for_reader(&PrivateKey::from_bytes(&[7; 32]), Vec::new());
        assert_eq!(sealed.err().unwrap().kind(), ErrorKind::Corrupt);
        assert!(identity().slot_secret(&public).is_none());
    }
}

#[test]
fn key_agreement_is_x25519() {
    // RFC 7748, 6.1.
    let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    let bob = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    let alice = PrivateKey::from_bytes(&bytes_of(alice));
    assert_eq!(*alice.public(), bytes_of("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(alice.agree(&bytes_of(bob), |shared| shared.try_into().unwrap()), Some(bytes_of(shared)));
}

fn bytes_of(digits: &str) -> [u8; 32] {
    crate::digest::from_hex(digits).unwrap()
}

#[test]
fn labels_are_short_and_printable() {
    assert_eq!("".parse::<KeyLabel>().unwrap(), KeyLabel::default());
    let longest = "금".repeat(16);
    assert_eq!(longest.parse::<KeyLabel>().unwrap().as_str(), longest);
    for label in ["a\nb", "\0", "\u{1b}[2J", &"x".repeat(49)] {
        assert_eq!(label.parse::<KeyLabel>().unwrap_err().kind(), ErrorKind::Invalid, "{label:?}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let secret = [0xab; 32];
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        MasterKey::from_bytes(secret),
        KeyFile::from_bytes(secret),
        Identity::from_bytes(secret),
        super::WriterKey::new(secret, super::ReaderKey(secret)),
        Passphrase::new("rosebud")
    );
    assert!(!shown.contains("171") && !shown.contains("ab") && !shown.contains("rosebud"), "{shown}");
}
