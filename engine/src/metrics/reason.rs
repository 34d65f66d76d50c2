//! Why an exchange did not go as its service answered: one word each, in metrics, log and answers.

macro_rules! reasons {
    ($($(#[$doc:meta])* $id:ident = $word:literal,)*) => {
        /// One word for what happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
        pub enum Reason { $($(#[$doc])* $id,)* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$id,)*];

            pub const fn word(self) -> &'static str {
                match self { $(Reason::$id => $word,)* }
            }

            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// A policy has refused.
            #[inline]
            pub const fn is_of_policy(self) -> bool {
                let first = Reason::AddressDenied as usize;
                self as usize >= first && self as usize <= Reason::Concurrency as usize
            }
        }
    };
}

reasons! {
    /// Nothing: the answer is the service's, or what the route says.
    #[default]
    None = "-",
    /// The request breaks HTTP's rules.
    BadRequest = "bad_request",
    /// `%2F` in the path of a route that does not take it.
    EncodedSlash = "encoded_slash",
    /// No route matches.
    NoRoute = "no_route",
    /// A route matches the path, none the method.
    Method = "method",
    /// The head did not come in time.
    HeadTimeout = "head_timeout",
    /// The body is longer than the route takes.
    BodyTooLarge = "body_too_large",
    TargetTooLong = "target_too_long",
    HeadTooLarge = "head_too_large",
    Expectation = "expectation",
    /// A transfer coding other than chunked.
    TransferCoding = "transfer_coding",
    Version = "version",
    /// A path that can't be rewritten as the route says.
    Rewrite = "rewrite",
    /// From an address that may not.
    AddressDenied = "address_denied",
    /// No credential came with it.
    NoCredential = "no_credential",
    /// A credential that proves nothing.
    BadCredential = "bad_credential",
    /// A credential that was good once, or is not yet.
    ExpiredCredential = "expired_credential",
    /// Who it is is known, and may not.
    Forbidden = "forbidden",
    /// Credentials can't be checked now.
    AuthUnavailable = "auth_unavailable",
    /// More than a rate allows.
    RateLimited = "rate_limited",
    /// No memory for one more key of a limit that refuses then.
    LimitsFull = "limits_full",
    /// More at one time than may be.
    Concurrency = "concurrency",
    /// The client hung up.
    ClientGone = "client_gone",
    /// The client stopped sending its body or taking its answer.
    ClientSlow = "client_slow",
    /// The client's body breaks the rules of its framing.
    ClientBody = "client_body",
    /// No address of the upstream is known.
    NoEndpoint = "no_endpoint",
    /// Every endpoint that was tried refused the connection.
    ConnectRefused = "connect_refused",
    /// A service's certificate was not accepted, or no TLS was agreed on.
    UpstreamTls = "upstream_tls",
    ConnectTimeout = "connect_timeout",
    /// `connections_max` of the upstream was reached for too long.
    UpstreamBusy = "upstream_busy",
    /// The service closed before a byte of its answer.
    UpstreamClosed = "upstream_closed",
    /// The service's answer breaks the rules.
    BadAnswer = "bad_answer",
    /// The service's answer ended in its middle.
    UpstreamTruncated = "upstream_truncated",
    /// `timeout` has passed.
    AnswerTimeout = "answer_timeout",
    /// The service's body stopped coming, or it stopped taking the request's.
    UpstreamSlow = "upstream_slow",
    /// `deadline` has passed.
    Deadline = "deadline",
    /// A deadline of the drain has passed.
    DrainCut = "drain_cut",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_plain() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        let plain = |w: &&str| w.bytes().all(|b| b.is_ascii_lowercase() || b"_-".contains(&b));
        assert!(words.iter().all(plain));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().enumerate().all(|(i, r)| r.index() == i));
    }
}
