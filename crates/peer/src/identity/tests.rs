use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use env::{Clock, Env};
use model::Timestamp;

use super::{Authority, SiteIdentity, file};
use crate::ErrorKind;

struct SetClock(AtomicI64);

impl SetClock {
    fn at(moment: &str) -> Arc<Self> {
        let moment: Timestamp = moment.parse().unwrap();
        Arc::new(Self(AtomicI64::new(moment.as_microseconds())))
    }

    fn advance_days(&self, days: i64) {
        self.0.fetch_add(days * 86_400_000_000, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(self.0.load(Ordering::Relaxed))
    }
}

fn open(directory: &Path, clock: &Arc<SetClock>) -> SiteIdentity {
    let env = Env { clock: clock.clone(), ..Env::system() };
    SiteIdentity::open(directory, &env).unwrap()
}

fn authority(site: &SiteIdentity) -> Authority {
    Authority::new(site.authority().to_vec()).unwrap()
}

#[test]
fn a_site_stays_who_it_is() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SetClock::at("2026-11-30T00:00:00Z"));
    let first = open(directory.path(), &clock);
    let again = open(directory.path(), &clock);
    assert_eq!((first.id(), first.fingerprint()), (again.id(), again.fingerprint()));
    assert_eq!(first.credentials().chain(), again.credentials().chain(), "nothing was due");
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_certificate_is_renewed_in_time_by_the_same_authority() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SetClock::at("2026-11-30T05:00:00Z"));
    let site = open(directory.path(), &clock);
    let (first, authority) = (site.credentials(), authority(&site));
    assert_eq!(first.expires_at.to_string(), "2027-11-30T00:00:00Z");
    clock.advance_days(200);
    assert!(!site.renew_if_due().unwrap());
    clock.advance_days(60);
    assert!(site.renew_if_due().unwrap());
    let second = site.credentials();
    assert_eq!(second.expires_at.to_string(), "2028-08-16T00:00:00Z");
    assert!(authority.check(&second.chain(), clock.now()).is_ok());
    assert!(authority.check(&first.chain(), clock.now()).is_ok(), "the old one is valid for a while");
    assert_eq!(open(directory.path(), &clock).credentials().chain(), second.chain(), "and it was kept");
    clock.advance_days(400);
    assert_eq!(authority.check(&second.chain(), clock.now()).unwrap_err().kind(), ErrorKind::Untrusted);
    assert!(open(directory.path(), &clock).credentials().expires_at > clock.now());
}

#[test]
fn a_clock_that_was_wrong_does_not_leave_a_certificate_of_another_time() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SetClock::at("2031-01-01T00:00:00Z"));
    let site = open(directory.path(), &clock);
    clock.advance_days(-1000);
    assert!(site.renew_if_due().unwrap());
    assert!(authority(&site).check(&site.credentials().chain(), clock.now()).is_ok());
}

#[test]
fn an_authority_believes_nothing_of_another() {
    let clock = SetClock::at("2026-11-30T00:00:00Z");
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (open(here.path(), &clock), open(there.path(), &clock));
    let refused = authority(&here).check(&there.credentials().chain(), clock.now()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Untrusted);
    let mut mixed = there.credentials().chain();
    mixed[1] = here.authority().clone();
    assert!(authority(&here).check(&mixed, clock.now()).is_err(), "whatever comes behind it");
    assert!(
        authority(&here).check(&[here.authority().clone()], clock.now()).is_err(),
        "an authority is no site"
    );
    assert!(authority(&here).check(&[], clock.now()).is_err());
    assert!(Authority::new(vec![0x30; 40]).is_err());
    assert!(Authority::new(vec![0x30; 1 << 20]).is_err());
}

#[test]
fn damaged_files_are_told_and_what_can_be_made_anew_is() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), SetClock::at("2026-11-30T00:00:00Z"));
    let first = open(directory.path(), &clock);
    std::fs::write(directory.path().join("certificate.json"), "{").unwrap();
    let second = open(directory.path(), &clock);
    assert_eq!(first.id(), second.id());
    assert!(authority(&first).check(&second.credentials().chain(), clock.now()).is_ok());
    let site_file = directory.path().join("site.json");
    let newer = std::fs::read_to_string(&site_file).unwrap().replace("\"version\": 1", "\"version\": 2");
    std::fs::write(&site_file, newer).unwrap();
    let refused = SiteIdentity::open(directory.path(), &Env::system()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Version);
    assert!(refused.guidance().is_some());
}

#[test]
fn the_first_version_is_read_for_ever() {
    let site = include_bytes!("../../golden/site-v1.json");
    let site: super::issue::SiteFile = file::decode(site).unwrap();
    let issuer = super::issue::Issuer::new(&site).unwrap();
    let authority = Authority::new(site.authority_certificate.clone()).unwrap();
    let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let issued = issuer.issue(authority.certificate(), now).unwrap();
    assert!(authority.check(&issued.chain(), now).is_ok());
    let kept: super::Credentials = file::decode(include_bytes!("../../golden/certificate-v1.json")).unwrap();
    assert!(kept.is_of(authority.certificate(), now));
}
