use env::{SeededEntropy, random};
use model::{PairingId, SiteId};

use super::{Challenge, PairingSecret, PairingToken, SecretDigest};
use crate::Fingerprint;

fn token() -> PairingToken {
    let entropy = SeededEntropy::new(7);
    PairingToken {
        site: SiteId::from_random(random(&entropy)),
        id: PairingId::from_random(random(&entropy)),
        authority: Fingerprint(random(&entropy)),
        secret: PairingSecret::new(random(&entropy)),
        address: "[2001:db8::7]:8443".parse().unwrap(),
    }
}

fn challenge() -> Challenge {
    let token = token();
    Challenge { token: token.id, session: [3; 32], maker: token.authority, caller: Fingerprint([9; 32]) }
}

#[test]
fn a_token_survives_being_copied_and_nothing_less() {
    let (token, text) = (token(), token().to_text());
    assert_eq!(format!(" {text}\n").parse::<PairingToken>().unwrap(), token);
    for place in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[place] = if other[place] == b'0' { b'1' } else { b'0' };
        assert!(String::from_utf8(other).unwrap().parse::<PairingToken>().is_err(), "at {place}");
        assert!(text[..place].parse::<PairingToken>().is_err(), "cut at {place}");
    }
    assert!(!format!("{token:?}").contains(&crate::hex::encode(token.secret.bytes())), "no secret in a log");
}

#[test]
fn a_proof_holds_for_its_own_challenge_alone() {
    let (challenge, secret) = (challenge(), token().secret.clone());
    let digest = SecretDigest::of(&secret);
    let proof = challenge.prove(&secret);
    assert!(challenge.holds(proof, digest));
    assert!(challenge.is_answered(challenge.answer(digest), &secret));
    let others = [
        Challenge { session: [4; 32], ..challenge.clone() },
        Challenge { maker: Fingerprint([1; 32]), ..challenge.clone() },
        Challenge { caller: Fingerprint([1; 32]), ..challenge.clone() },
        Challenge { token: PairingId::from_random([1; 10]), ..challenge.clone() },
    ];
    for other in others {
        assert!(!other.holds(proof, digest), "{other:?}");
        assert!(!other.is_answered(challenge.answer(digest), &secret), "{other:?}");
    }
}

#[test]
fn who_knows_the_digest_alone_proves_nothing() {
    let (challenge, secret) = (challenge(), token().secret.clone());
    let digest = SecretDigest::of(&secret);
    assert!(!challenge.holds(challenge.prove(&PairingSecret::new(digest.0)), digest));
    assert!(!challenge.holds(challenge.answer(digest), digest));
    assert_ne!(challenge.prove(&secret), challenge.answer(digest));
}
