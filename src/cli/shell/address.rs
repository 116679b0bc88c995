//! Where the server is, as one word: `redis://user:password@host:port/database`.
//!
//! Everything behind the scheme may be missing. What stands before an `@` without a colon is a password,
//! as redis-cli takes it. User and password may have `%` and two hexadecimal digits for any byte.

use crate::error::Error;

/// What a URI says of a server; nothing of what it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) user: Option<String>,
    pub(super) pass: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) db: Option<i64>,
}

impl Address {
    /// Reads a URI.
    ///
    /// # Errors
    /// It is of another scheme, or a part of it is not what stands there.
    pub(super) fn parse(uri: &str) -> Result<Self, Error> {
        // The password is not for the terminal's history of errors.
        let wrong = |what: &str| Error::Usage(format!("the URI of -u {what}"));
        let rest = match uri.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("redis") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("rediss") => {
                return Err(wrong("asks for TLS, which there is not yet"));
            }
            _ => return Err(wrong("does not begin with redis://")),
        };
        let (place, db) = match rest.rsplit_once('@').map_or(rest, |(_, place)| place) {
            place if !place.contains('/') => (place, None),
            place => {
                let (place, db) = place.split_once('/').expect("it has one");
                (place, Some(db).filter(|db| !db.is_empty()))
            }
        };
        let db = db.map(|db| {
            db.parse()
                .map_err(|_| wrong("ends in no number of a database"))
        });
        let secrets = rest.rsplit_once('@').map(|(secrets, _)| secrets);
        let (user, pass) = match secrets.map(|secrets| (secrets, secrets.split_once(':'))) {
            None => (None, None),
            Some((pass, None)) => (None, Some(pass)),
            Some((_, Some((user, pass)))) => (Some(user), Some(pass)),
        };
        let decode = |text: &str| decoded(text).ok_or_else(|| wrong("has a % without two digits"));
        let (host, port) = match place.rsplit_once(':') {
            // The colons of an address of IPv6 in brackets are its own.
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (place, None),
        };
        let port = port.map(|port| {
            port.parse()
                .map_err(|_| wrong("has no port behind its colon"))
        });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            user: user
                .filter(|user| !user.is_empty())
                .map(decode)
                .transpose()?,
            pass: pass.map(decode).transpose()?,
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
            port: port.transpose()?,
            db: db.transpose()?,
        })
    }
}

/// The text that `text` stands for, if it is one.
fn decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(uri: &str) -> Address {
        Address::parse(uri).expect("it is a URI")
    }

    #[test]
    fn every_part_of_a_uri_may_be_missing() {
        assert_eq!(parsed("redis://"), Address::default());
        let whole = Address {
            user: Some("me".to_owned()),
            pass: Some("a@b:c".to_owned()),
            host: Some("example.org".to_owned()),
            port: Some(7000),
            db: Some(3),
        };
        assert_eq!(parsed("Redis://me:a%40b%3ac@example.org:7000/3"), whole);
        let uri = parsed("redis://secret@[::1]:7000");
        assert_eq!(uri.pass.as_deref(), Some("secret"));
        assert_eq!(uri.user, None);
        assert_eq!(uri.host.as_deref(), Some("::1"));
        assert_eq!(uri.port, Some(7000));
        let uri = parsed("redis://[::1]/2");
        assert_eq!(
            (uri.host.as_deref(), uri.port, uri.db),
            (Some("::1"), None, Some(2))
        );
        let uri = parsed("redis://:p@:7001/");
        assert_eq!((uri.user, uri.pass.as_deref()), (None, Some("p")));
        assert_eq!((uri.host, uri.port, uri.db), (None, Some(7001), None));
    }

    #[test]
    fn what_is_wrong_with_a_uri_is_said_without_its_password() {
        for (uri, reason) in [
            ("http://host", "does not begin with redis://"),
            ("host:1", "does not begin with redis://"),
            ("rediss://host", "asks for TLS"),
            ("redis://secret@host:port", "has no port"),
            ("redis://secret@host:1/x", "no number of a database"),
            ("redis://se%cret@host", "has a % without two digits"),
        ] {
            let error = Address::parse(uri).expect_err(uri).to_string();
            assert!(error.contains(reason) && !error.contains("cret"), "{error}");
        }
    }
}
