use proptest::prelude::*;

use super::*;
use crate::{Attribute, Entry, Kind, Page, Volume, VolumeState};

fn entry() -> Entry {
    Entry {
        kind: Kind::Symlink { target: b"../\xff".to_vec() },
        attributes: vec![Attribute { name: b"user.x".to_vec(), value: vec![0, 1] }],
        ..Entry::directory(b"na\xffme")
    }
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::failure(FailureKind::Locked, "no key"),
        Answer::Volumes(vec![Volume {
            name: "root-1".to_owned(),
            content: "ext4".to_owned(),
            size_bytes: 7,
            state: VolumeState::Unreadable { reason: "why".to_owned() },
        }]),
        Answer::Entry(Box::new(entry())),
        Answer::Page(Page { entries: vec![entry(), Entry::directory(b"d")], next: Some(9) }),
        Answer::Bytes(vec![1, 2, 3]),
        Answer::Ranges { ranges: vec![0..5, 7..8], next: Some(8) },
        Answer::Digest(crate::Digest { hash: [7; 32], end_bytes: 9 }),
    ]
}

#[test]
fn answers_come_back_as_they_were() {
    for answer in answers() {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
}

#[test]
fn requests_come_back_as_they_were() {
    let path = || b"a/\xff".to_vec();
    for request in [
        Request::Volumes { disks: vec!["root".to_owned()], passphrases: vec![b"secret".to_vec()] },
        Request::Stat { volume: 1, path: path(), follow: true },
        Request::List { volume: 2, path: path(), start: 5, with_attributes: true },
        Request::Read { volume: 3, path: path(), offset_bytes: 4096, length_bytes: 512 },
        Request::DataRanges { volume: 4, path: path(), offset_bytes: 1 },
        Request::Digest { volume: 5, path: path(), offset_bytes: 1, end_bytes: 7 },
    ] {
        assert!(Request::decode(&request.encode()) == Ok(request));
    }
}

#[test]
fn names_that_lead_elsewhere_are_malformed() {
    for name in [&b".."[..], b".", b"a/b", b"/etc/passwd", b"a\0b"] {
        let page = Answer::Page(Page { entries: vec![Entry::directory(name)], next: None });
        assert!(Answer::decode(&page.encode()).is_err(), "{name:?}");
    }
    let link = Entry { kind: Kind::Symlink { target: Vec::new() }, ..entry() };
    assert!(Answer::decode(&Answer::Entry(Box::new(link)).encode()).is_err());
}

#[test]
fn ranges_out_of_order_are_malformed() {
    for (ranges, next) in [(vec![1..2, 5..5], None), (vec![5..9, 7..10], None), (vec![1..2, 5..9], Some(8))] {
        assert!(Answer::decode(&Answer::Ranges { ranges, next }.encode()).is_err());
    }
}

#[test]
fn long_frames_are_refused_before_they_are_read() {
    let mut announced: &[u8] = &[0xff; 8];
    assert_eq!(read_frame(&mut announced).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(frame(&vec![0; MESSAGE_MAX_BYTES + 1]).is_err());
}

proptest! {
    #[test]
    fn mutated_answers_never_panic(
        which in 0..answers().len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut message = answers()[which].encode();
        for (place, value) in flips {
            let place = place.index(message.len());
            message[place] = value;
        }
        let _ = Answer::decode(&message);
        let _ = Request::decode(&message);
        let _ = Greeting::decode(&message);
    }
}
