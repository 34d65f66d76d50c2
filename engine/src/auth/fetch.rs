//! Where an issuer's keys are asked for.

/// A URL that control fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub is_https: bool,
    pub host: Box<str>,
    pub port: u16,
    /// For `Host`.
    pub authority: Box<str>,
    /// Path and query.
    pub target: Box<str>,
}

impl std::fmt::Display for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.target)
    }
}
