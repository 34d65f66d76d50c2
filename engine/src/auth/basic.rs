//! `Authorization: Basic` (RFC 7617), and the token of `Authorization: Bearer` (RFC 6750).

use std::fmt;

use super::base64::{self, Form};

/// Of the decoded user and password together. Longer ones are no credentials.
pub const CREDENTIALS_BYTES_MAX: usize = 1024;

/// A user's name and password as sent. Whether they are UTF-8 is not asked: both are only compared
/// with bytes.
#[derive(Clone)]
pub struct Credentials {
    bytes: [u8; CREDENTIALS_BYTES_MAX],
    colon: usize,
    len: usize,
}

impl Credentials {
    /// Reads a field value; `None` for anything that is not exactly Basic credentials.
    pub fn read(value: &[u8]) -> Option<Credentials> {
        let text = after_scheme(value, b"basic")?;
        let mut bytes = [0; CREDENTIALS_BYTES_MAX];
        let len = base64::decode(Form::Padded, text, &mut bytes)?;
        // RFC 7617 §2: the first colon ends the name; a password may hold more.
        let colon = memchr::memchr(b':', &bytes[..len])?;
        // Control characters are in no name or password (RFC 7617 §2); NUL would cut one short.
        let is_control = |&b: &u8| b < 0x20 || b == 0x7f;
        (!bytes[..len].iter().any(is_control)).then_some(Credentials { bytes, colon, len })
    }

    pub fn user(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    pub fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..self.len]
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// The token of `Bearer`, not yet looked into.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    after_scheme(value, b"bearer").filter(|token| !token.is_empty())
}

/// What follows `scheme`, in any case, and its spaces (RFC 9110 §11.4).
fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let spaces = rest.iter().take_while(|&&b| b == b' ').count();
    (name.eq_ignore_ascii_case(scheme) && spaces > 0).then(|| &rest[spaces..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expect: Option<(&[u8], &[u8])>) {
        let read = Credentials::read(value.as_bytes());
        assert_eq!(read.as_ref().map(|c| (c.user(), c.password())), expect, "{value}");
    }

    #[test]
    fn credentials_are_read_from_their_one_spelling() {
        check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some((b"Aladdin", b"open sesame")));
        check("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some((b"Aladdin", b"open sesame")));
        check("BASIC dGVzdDoxMjPCow==", Some((b"test", "123£".as_bytes())));
        check("Basic YTpiOmM=", Some((b"a", b"b:c")));
        check("Basic Og==", Some((b"", b"")));
        check("Basic YTr/", Some((b"a", b"\xff")));
        for value in [
            "",
            "Basic",
            "Basic ",
            "BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ== ",
            "Basic QWxhZGRpbjpvcGVu IHNlc2FtZQ==",
            "Basic YWJj",     // no colon
            "Basic YTpiAGM=", // a NUL
            "Basic YTpiCmM=", // a line feed
            "Basic YTp_",
        ] {
            check(value, None);
        }
    }

    #[test]
    fn long_credentials_are_none() {
        let of = |bytes: usize| {
            let text = "YWFh".repeat((bytes - 3) / 3) + "YTph"; // a…a:a
            Credentials::read(format!("Basic {text}").as_bytes())
        };
        assert_eq!(CREDENTIALS_BYTES_MAX % 3, 1);
        assert!(of(CREDENTIALS_BYTES_MAX - 1).is_some());
        assert!(of(CREDENTIALS_BYTES_MAX + 2).is_none());
        assert!(of(100_000 / 3 * 3).is_none());
    }

    #[test]
    fn a_bearer_token_is_what_follows_its_scheme() {
        assert_eq!(bearer(b"Bearer a.b.c"), Some(&b"a.b.c"[..]));
        assert_eq!(bearer(b"bearer  a"), Some(&b"a"[..]));
        assert_eq!(bearer(b"Bearer "), None);
        assert_eq!(bearer(b"Bearera"), None);
        assert_eq!(bearer(b"Basic a"), None);
    }

    #[test]
    fn credentials_can_be_printed() {
        let read = Credentials::read(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").expect("they are");
        assert_eq!(format!("{read:?}"), "Credentials(***)");
    }
}
