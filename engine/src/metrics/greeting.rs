//! What became of connections before their first request: one word each, in metrics.

macro_rules! greetings {
    ($($(#[$doc:meta])* $id:ident = $word:literal,)*) => {
        /// What became of a TLS handshake, or why a connection got no further than to it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Greeting { $($(#[$doc])* $id,)* }

        impl Greeting {
            pub const ALL: &'static [Greeting] = &[$(Greeting::$id,)*];

            pub const fn word(self) -> &'static str {
                match self { $(Greeting::$id => $word,)* }
            }
        }
    };
}

greetings! {
    /// A handshake with all that belongs to it.
    Full = "full",
    /// One that made use of an earlier one's ticket.
    Resumed = "resumed",
    /// One that failed: no common version, a certificate that is not accepted, no TLS at all.
    Failed = "failed",
    /// One that was not over by `handshake_timeout`.
    TimedOut = "timeout",
    /// One that had to give its place to newer ones (`handshakes_max`).
    Crowded = "crowded",
    /// Plain HTTP sent to a TLS listener.
    PlainHttp = "plain_http",
    /// A TLS hello sent to a plain listener.
    TlsOnPlain = "tls_on_plain",
    /// No valid PROXY header on a listener that wants one.
    ProxyHeader = "proxy_header",
    /// A connection to such a listener from an address that is not trusted.
    ProxyUntrusted = "proxy_untrusted",
}

impl Greeting {
    /// It counts among handshakes; the others among connections that were refused.
    pub const fn is_handshake(self) -> bool {
        self as usize <= Greeting::Crowded as usize
    }
}

/// A count for each, in their order.
pub type Greetings = [u64; Greeting::ALL.len()];
