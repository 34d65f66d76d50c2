//! Properties that the engine keeps beside the code they are about.

/// The router agrees with the naive matcher on rules and requests made of `bytes`.
pub fn router(bytes: &[u8]) {
    engine::router::naive::check_bytes(bytes);
}

/// Loading a configuration never panics; every mistake lies in its source; a snapshot means that
/// there was no error; the same text gives the same diagnostics.
pub fn config(bytes: &[u8]) {
    engine::config::fuzz::property(bytes);
}

/// The canonical form of a configuration is its own canonical form, and says the same.
pub fn fmt(bytes: &[u8]) {
    engine::config::fuzz::fmt_property(bytes);
}

/// A compiled configuration explains every request, and names the route that the router finds.
pub fn explain(bytes: &[u8]) {
    engine::explain::fuzz::property(bytes);
}

/// No token is good that nobody signed; claims that are good end later, and are found again.
pub fn jwt(bytes: &[u8]) {
    engine::auth::fuzz::jwt(bytes);
}

/// Each key of a set is used or skipped with a reason, and by none is an unsigned token good.
pub fn jwks(bytes: &[u8]) {
    engine::auth::fuzz::jwks(bytes);
}

/// `keys.csv` and htpasswd: consumers that are found again, or mistakes with places in the text.
pub fn consumers(bytes: &[u8]) {
    engine::auth::fuzz::consumers(bytes);
}
