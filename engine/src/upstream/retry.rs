//! May this be sent again?

/// What is known when an attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub failed: Failed,
    /// The method may run twice without harm (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The whole request is still in its buffer.
    pub resendable: bool,
    /// The connection had served a request before.
    pub reused: bool,
    /// Attempts that found a reused connection closed, this one not counted.
    pub stale_before: u32,
    /// Something of an answer reached the client, an interim one included.
    pub client_has_bytes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No connection: refused, unreachable, timed out.
    Connect,
    /// The connection ended before a byte of the answer. `sent` says whether a byte of the
    /// request went out.
    Closed { sent: bool },
    /// Anything later, or an answer that can't be trusted.
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    No,
    /// On another endpoint; this one is skipped for a while.
    Elsewhere,
    /// On a fresh connection, the same endpoint included.
    Fresh,
}

/// A request is never sent twice unless nothing of it was sent, or it is idempotent and found a
/// reused connection closed, which origins do to idle connections at any time (RFC 9112 §9.3.1).
pub fn may_retry(f: &Facts) -> Retry {
    if f.client_has_bytes || !f.resendable {
        return Retry::No;
    }
    match f.failed {
        Failed::Connect => Retry::Elsewhere,
        Failed::Closed { sent } => {
            let stale = f.reused && f.stale_before == 0;
            if stale && (!sent || f.idempotent) { Retry::Fresh } else { Retry::No }
        }
        Failed::Answer => Retry::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_never_sent_twice() {
        let facts = Facts {
            failed: Failed::Closed { sent: true },
            idempotent: true,
            resendable: true,
            reused: true,
            stale_before: 0,
            client_has_bytes: false,
        };
        assert_eq!(may_retry(&facts), Retry::Fresh);
        assert_eq!(may_retry(&Facts { idempotent: false, ..facts }), Retry::No);
        let unsent = Failed::Closed { sent: false };
        assert_eq!(may_retry(&Facts { idempotent: false, failed: unsent, ..facts }), Retry::Fresh);
        assert_eq!(may_retry(&Facts { reused: false, ..facts }), Retry::No);
        assert_eq!(may_retry(&Facts { stale_before: 1, ..facts }), Retry::No, "once");
        assert_eq!(may_retry(&Facts { resendable: false, ..facts }), Retry::No);
        assert_eq!(may_retry(&Facts { client_has_bytes: true, ..facts }), Retry::No);
        assert_eq!(may_retry(&Facts { failed: Failed::Connect, ..facts }), Retry::Elsewhere);
        assert_eq!(may_retry(&Facts { failed: Failed::Answer, ..facts }), Retry::No);
    }
}
