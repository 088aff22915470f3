//! An address in which a password may stand: it is sent, and never shown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use efd_central_kafka::Password;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::OptionsError;

/// Base address of a schema registry. `Display` and `Debug` leave out the login of `http://user:password@host`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RegistryAddress(String);

impl RegistryAddress {
    /// With a login in place of any that it has.
    #[must_use]
    pub fn with_login(&self, user: &str, password: &Password) -> Self {
        let (scheme, _, rest) = self.parts();
        let user = utf8_percent_encode(user, &ESCAPED);
        let password = utf8_percent_encode(password.expose(), &ESCAPED);
        Self(format!(
            "{scheme}{user}:{password}@{}",
            rest.trim_start_matches('@')
        ))
    }

    pub fn has_login(&self) -> bool {
        !self.parts().1.is_empty()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.to_ascii_lowercase().starts_with("https://")
    }

    /// What is sent for the login, by RFC 7617: an HTTP client may take it from the address as it stands there, escaped.
    pub(crate) fn authorization(&self) -> Option<String> {
        let login: Vec<u8> = percent_decode_str(self.parts().1).collect();
        (!login.is_empty()).then(|| format!("Basic {}", STANDARD.encode(login)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Before the login, the login, and after it with its `@`. Up to the last `@`, so that no `/` or `@` that somebody
    /// forgot to escape leaves a part of a password over.
    fn parts(&self) -> (&str, &str, &str) {
        let begin = self.0.find("://").map_or(0, |at| at + "://".len());
        let end = self.0.rfind('@').unwrap_or(begin).max(begin);
        (&self.0[..begin], &self.0[begin..end], &self.0[end..])
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let lower = self.0.to_ascii_lowercase();
        let fault = |what| OptionsError::Registry {
            address: self.to_string(),
            what,
        };
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Err(fault("does not begin with http:// or https://"));
        }
        let (_, login, rest) = self.parts();
        let host = rest.trim_start_matches('@').split(['/', ':']).next();
        if host.is_none_or(str::is_empty) {
            return Err(fault("names no host"));
        }
        if self
            .0
            .contains(|c: char| !c.is_ascii_graphic() || "?#".contains(c))
            || login.contains(['/', '@'])
        {
            return Err(fault(
                "has a character that must be escaped (`%40` for `@`, `%2F` for `/`) or a query",
            ));
        }
        Ok(())
    }
}

/// What RFC 3986 lets stand in the login of an address.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl From<&str> for RegistryAddress {
    fn from(text: &str) -> Self {
        let bare = text.ends_with("://");
        let text = if bare {
            text
        } else {
            text.trim_end_matches('/')
        };
        Self(text.to_owned())
    }
}

impl fmt::Display for RegistryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, _, rest) = self.parts();
        write!(f, "{scheme}{}", rest.trim_start_matches('@'))
    }
}

impl fmt::Debug for RegistryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_never_shown() {
        let check = |address: &str, shown: &str| {
            let address = RegistryAddress::from(address);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("{shown:?}"));
        };
        check("http://r:8081/", "http://r:8081");
        check("http://r:8081/base//", "http://r:8081/base");
        check("http://anna:hunter2@r:8081", "http://r:8081");
        check("http://anna:hun/ter2@hunter2@r:8081/x", "http://r:8081/x");
        check("anna:hunter2@r:8081", "r:8081");
        check("http://hunter2@r", "http://r");
        check("https://@", "https://");
        check("", "");
    }

    #[test]
    fn a_login_may_be_given_apart() {
        let address = RegistryAddress::from("https://old:old@r:8081/x");
        let address = address.with_login("an na", &"h@nter/2:é".into());
        assert_eq!(address.0, "https://an%20na:h%40nter%2F2%3A%C3%A9@r:8081/x");
        let sent = STANDARD.encode("an na:h@nter/2:é");
        assert_eq!(address.authorization(), Some(format!("Basic {sent}")));
        assert_eq!(RegistryAddress::from("http://r").authorization(), None);
        assert_eq!(address.check(), Ok(()));
        assert_eq!(address.to_string(), "https://r:8081/x");
    }

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        let check = |address: &str| RegistryAddress::from(address).check();
        for good in [
            "http://r",
            "HTTP://r:8081/base",
            "https://r:8081",
            "http://anna:h%40x@r:8081",
            "http://[::1]:8081",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, wanted) in [
            ("ftp://r:8081", "does not begin with http://"),
            ("r:8081", "does not begin with http://"),
            ("", "does not begin with http://"),
            ("http://", "names no host"),
            ("http://anna:hunter2@:8081", "names no host"),
            ("http://anna:hunter2/x@r", "`%2F` for `/`"),
            ("http://r?token=hunter", "or a query"),
            ("http://r s", "must be escaped"),
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains(wanted), "{bad}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
