//! A client's side of SCRAM: the password does not cross the wire, and the broker shows that it knows it too.
//!
//! Source: RFC 5802 and RFC 7677; SHA-512 as Kafka does it. No channel binding. The password is taken as it is, without
//! SASLprep, as Kafka's own tools do.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// Work that a broker may ask for.
const ROUNDS_MAX: u32 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("the broker's message `{0}` is not SCRAM's")]
    Malformed(&'static str),
    #[error("the broker's nonce does not go on from ours")]
    Nonce,
    #[error("the broker asks for {found} rounds, at most {ROUNDS_MAX} are made")]
    Rounds { found: u32 },
    #[error("the broker refuses: {0}")]
    Refused(String),
    #[error("the broker does not know the password")]
    Signature,
}

/// From the first message to the broker's answer to it.
#[derive(Debug)]
pub(crate) struct First {
    hash: Hash,
    nonce: String,
    bare: String,
}

/// From the second message on.
#[derive(Debug)]
pub(crate) struct Second {
    signature: Vec<u8>,
}

impl First {
    /// `nonce`: printable, without commas, never twice. Gives the first message.
    pub(crate) fn new(hash: Hash, user: &str, nonce: String) -> (Self, String) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let message = format!("n,,{bare}");
        (Self { hash, nonce, bare }, message)
    }

    /// Gives the second message.
    pub(crate) fn answer(
        self,
        challenge: &str,
        password: &str,
    ) -> Result<(Second, String), ScramError> {
        let malformed = || ScramError::Malformed("server-first");
        let nonce = attribute(challenge, 'r').ok_or_else(malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = attribute(challenge, 's').ok_or_else(malformed)?;
        let salt = STANDARD.decode(salt).map_err(|_| malformed())?;
        let found: u32 = attribute(challenge, 'i')
            .and_then(|rounds| rounds.parse().ok())
            .ok_or_else(malformed)?;
        let rounds = NonZeroU32::new(found)
            .filter(|rounds| rounds.get() <= ROUNDS_MAX)
            .ok_or(ScramError::Rounds { found })?;

        let algorithm = self.hash.hmac();
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(algorithm, key), text);
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(
            self.hash.pbkdf2(),
            rounds,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let without_proof = format!("c=biws,r={nonce}");
        let whole = format!("{},{challenge},{without_proof}", self.bare);
        let client = sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.digest(), client.as_ref());
        let signature = sign(stored.as_ref(), whole.as_bytes());
        let pairs = client.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signed)| key ^ signed).collect();
        let server = sign(&salted, b"Server Key");
        let signature = sign(server.as_ref(), whole.as_bytes()).as_ref().to_vec();
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((Second { signature }, message))
    }
}

impl Second {
    pub(crate) fn finish(self, answer: &str) -> Result<(), ScramError> {
        if let Some(error) = attribute(answer, 'e') {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let malformed = || ScramError::Malformed("server-final");
        let signature = attribute(answer, 'v').ok_or_else(malformed)?;
        let signature = STANDARD.decode(signature).map_err(|_| malformed())?;
        match signature == self.signature {
            true => Ok(()),
            false => Err(ScramError::Signature),
        }
    }
}

fn attribute(message: &str, name: char) -> Option<&str> {
    let mut parts = message.split(',');
    parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 § 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn first() -> First {
        let (first, message) = First::new(Hash::Sha256, "user", NONCE.to_owned());
        assert_eq!(message, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        first
    }

    #[test]
    fn the_example_of_the_rfc() {
        let (second, message) = first().answer(CHALLENGE, "pencil").unwrap();
        assert_eq!(
            message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let answer = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(second.finish(answer), Ok(()));
    }

    #[test]
    fn names_are_escaped() {
        let (_, message) = First::new(Hash::Sha512, "a=b,c", "n".into());
        assert_eq!(message, "n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        let second = || first().answer(CHALLENGE, "pencil").unwrap().0;
        let wrong = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8=";
        assert_eq!(second().finish(wrong), Err(ScramError::Signature));
        let refused = second().finish("e=invalid-proof");
        assert_eq!(refused, Err(ScramError::Refused("invalid-proof".into())));
        assert!(matches!(second().finish(""), Err(ScramError::Malformed(_))));
    }

    #[test]
    fn challenges_that_are_none() {
        let error = |challenge: &str| first().answer(challenge, "pencil").unwrap_err();
        assert_eq!(error("r=other,s=QQ==,i=1"), ScramError::Nonce);
        assert_eq!(error(&format!("r={NONCE},s=QQ==,i=1")), ScramError::Nonce);
        let with = |rest: &str| error(&format!("r={NONCE}x,{rest}"));
        assert!(matches!(with("s=QQ==,i=0"), ScramError::Rounds { .. }));
        assert!(matches!(
            with("s=QQ==,i=99999999"),
            ScramError::Rounds { .. }
        ));
        for rest in ["", "s=QQ==", "s=*,i=1", "i=1", "s=QQ==,i=-1"] {
            assert!(matches!(with(rest), ScramError::Malformed(_)), "{rest}");
        }
    }
}
