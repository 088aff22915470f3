//! Settings in which a password may stand: they are sent, and never shown.

use std::collections::BTreeMap;
use std::fmt;

use super::OptionsError;

/// Base address of a schema registry. `Display` and `Debug` leave out the login of `http://user:password@host`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RegistryAddress(String);

impl RegistryAddress {
    /// Whole, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
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

    /// Another's text, such as an error, in which this address may stand.
    pub(crate) fn without_login(&self, text: &str) -> String {
        match self.parts() {
            (_, "", _) => text.to_owned(),
            (_, login, _) => text.replace(&format!("{login}@"), ""),
        }
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let lower = self.0.to_ascii_lowercase();
        let fault = |what| OptionsError::Registry {
            address: self.to_string(),
            what,
        };
        if lower.starts_with("https://") {
            return Err(OptionsError::RegistryTls(self.to_string()));
        }
        if !lower.starts_with("http://") {
            return Err(fault("does not begin with http://"));
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

/// librdkafka's own settings. `Debug` shows their names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    pub fn insert(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        for (name, value) in self.iter() {
            if RESERVED.contains(&name) {
                return Err(OptionsError::Reserved(name.to_owned()));
            }
            let is_plaintext = value.trim().eq_ignore_ascii_case("plaintext");
            let is_protocol = name == "security.protocol";
            let needs_more = SECURED.iter().any(|prefix| name.starts_with(prefix));
            if needs_more || (is_protocol && !is_plaintext) {
                return Err(OptionsError::KafkaTls(name.to_owned()));
            }
        }
        Ok(())
    }
}

impl From<BTreeMap<String, String>> for Properties {
    fn from(properties: BTreeMap<String, String>) -> Self {
        Self(properties)
    }
}

impl From<Properties> for BTreeMap<String, String> {
    fn from(Properties(properties): Properties) -> Self {
        properties
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What says nothing to a connection in plaintext: set, it would look as if it protected something.
const SECURED: [&str; 4] = ["ssl.", "sasl.", "enable.ssl.", "enable.sasl."];

/// What the feed sets itself.
const RESERVED: [&str; 18] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "acks",
    "request.required.acks",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "retries",
    "message.send.max.retries",
    "transactional.id",
    "message.max.bytes",
    "enable.partition.eof",
    "isolation.level",
    "enable.auto.commit",
    "auto.offset.reset",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_never_shown() {
        let check = |address: &str, shown: &str| {
            let address = RegistryAddress::from(address);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), format!("{shown:?}"));
            let error = format!("bad uri {}/subjects, pass@ word", address.expose());
            assert!(!address.without_login(&error).contains("hunter2"));
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
    fn addresses_that_cannot_work_are_refused() {
        let check = |address: &str| RegistryAddress::from(address).check();
        for good in [
            "http://r",
            "HTTP://r:8081/base",
            "http://anna:h%40x@r:8081",
            "http://[::1]:8081",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, wanted) in [
            ("https://anna:hunter2@r:8081", "`https://r:8081` needs TLS"),
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

    #[test]
    fn properties_that_cannot_work_are_refused_without_their_values() {
        let with = |name: &str, value: &str| {
            let mut properties = Properties::default();
            properties.insert(name, value);
            properties
        };
        for (name, value) in [
            ("linger.ms", "5"),
            ("security.protocol", "PLAINTEXT"),
            ("client.rack", "a"),
        ] {
            assert_eq!(with(name, value).check(), Ok(()), "{name}");
        }
        for (name, value) in [
            ("security.protocol", "ssl"),
            ("security.protocol", "sasl_plaintext"),
            ("sasl.password", "hunter2"),
            ("sasl.mechanisms", "PLAIN"),
            ("ssl.key.password", "hunter2"),
            ("enable.ssl.certificate.verification", "false"),
            ("acks", "hunter2"),
        ] {
            let properties = with(name, value);
            let error = properties.check().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            let shown = format!("{error} {properties:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(format!("{properties:?}").contains(name));
        }
    }
}
