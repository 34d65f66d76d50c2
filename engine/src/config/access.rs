//! Tree → model: who may call, `[auth.NAME]`, `[consumer.NAME]`, `[consumers]`, `[plan.NAME]`.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys::{self, Key};
use super::model::{Auth, AuthMethod, Consumer, ForwardSource, JwtSource, Keys, Plan, Spot};
use super::reader::{Section, one_of, text_of, wrong_type};
use super::source::{Node, Table, Value};
use super::{fields, guards, secret};
use crate::auth::keys::{Digest, digest_of, read_digest};
use crate::auth::mistakes::Mistakes;
use crate::auth::texts::Words;
use crate::auth::{consumers, csv, hash, htpasswd, jwks, jwt};
use crate::http::edit::EditName;
use crate::policy::api_key::ApiKey;
use crate::secret::Secret;

/// A million consumers with keys and groups.
const CONSUMERS_BYTES_MAX: u64 = 512 << 20;
const HTPASSWD_BYTES_MAX: u64 = 64 << 20;
const JWKS_BYTES_MAX: u64 = 512 << 10;
/// Words of groups and scopes: they are compared and sent.
const WORD_BYTES_MAX: usize = crate::auth::texts::WORD_BYTES_MAX;
const DEFAULT_HEADER: &str = "X-Api-Key";

/// The keys of a method's table.
pub(super) fn keys_of(table: &Table) -> &'static [Key] {
    match table.find("method").map(|entry| &entry.node.value) {
        Some(Value::Text(method)) => match method.as_str() {
            "api_key" => keys::AUTH_API_KEY,
            "basic" => keys::AUTH_BASIC,
            "jwt" => keys::AUTH_JWT,
            "forward" => keys::AUTH_FORWARD,
            _ => keys::AUTH,
        },
        _ => keys::AUTH,
    }
}

pub(super) fn auth(
    name: &str,
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Auth {
    if name == "none" {
        let error = Diagnostic::new("E109", section.at, "no authentication can be called `none`");
        out.push(error.note("auth = \"none\" opens a route"));
    }
    if section.entry("method").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", section.at, "`method` is missing");
        out.push(error.note("\"api_key\", \"basic\", \"jwt\" or \"forward\""));
    }
    let method = match section.word("method", out) {
        Some("api_key") => Some(api_key(section, out)),
        Some("basic") => Some(basic(name, section, outside, out)),
        Some("jwt") => jwt(section, outside, out),
        Some("forward") => forward(section, out),
        _ => None,
    };
    Auth { name: name.to_owned(), at: section.at, method }
}

fn api_key(section: &Section<'_>, out: &mut Diagnostics) -> AuthMethod {
    let query = word(section, "query", out);
    let cookie = word(section, "cookie", out);
    let header = match section.entry("header") {
        Some(_) => field_name(section, "header", out),
        None if query.is_none() && cookie.is_none() => Some(EditName::new(DEFAULT_HEADER)),
        None => None,
    };
    let bytes = |text: String| text.into_bytes().into_boxed_slice();
    AuthMethod::ApiKey(ApiKey {
        header,
        query: query.map(bytes),
        cookie: cookie.map(bytes),
        keep: section.bool("keep", out).unwrap_or_default(),
    })
}

/// A name without what ends one in a query or in a cookie.
fn word(section: &Section<'_>, key: &str, out: &mut Diagnostics) -> Option<String> {
    let (text, at) = section.text(key, out)?;
    if !parser::encode::is_token(text.as_bytes()) {
        let error = Diagnostic::new("E135", at, format!("\"{text}\" is no name"));
        out.push(error.note("letters, digits, `-`, `_` and `.`"));
        return None;
    }
    Some(text.to_owned())
}

fn field_name(section: &Section<'_>, key: &str, out: &mut Diagnostics) -> Option<EditName> {
    let (text, at) = section.text(key, out)?;
    fields::check_field_name(text, at, true, out).then(|| EditName::new(text))
}

fn field_names(section: &Section<'_>, key: &str, out: &mut Diagnostics) -> Option<Vec<EditName>> {
    let names = section.texts(key, true, out)?;
    let good = names.iter().filter(|spot| fields::check_field_name(spot.value, spot.at, true, out));
    Some(good.map(|spot| EditName::new(spot.value)).collect())
}

fn basic(
    name: &str,
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> AuthMethod {
    let users = section.text("file", out).and_then(|(path, at)| {
        let bytes = file_bytes(outside.read_list(path, at, HTPASSWD_BYTES_MAX), path, at, out)?;
        let lines = csv::lines(&bytes);
        let mut builder = consumers::Builder::new(Words::new(seed()), seed(), lines);
        match htpasswd::read(&bytes, &mut builder) {
            Ok(()) => Some(Box::new(builder.finish())),
            Err(mistakes) => {
                file_mistakes(path, at, &mistakes, out);
                None
            }
        }
    });
    AuthMethod::Basic {
        realm: section.text("realm", out).map_or(name, |(realm, _)| realm).to_owned(),
        keep: section.bool("keep", out).unwrap_or_default(),
        users,
    }
}

fn file_bytes(
    content: Result<super::files::Content, String>,
    path: &str,
    at: At,
    out: &mut Diagnostics,
) -> Option<Vec<u8>> {
    let bytes = content.map(|content| content.bytes);
    bytes
        .map_err(|note| {
            let error = Diagnostic::new("E114", at, format!("\"{path}\" can't be read"));
            out.push(error.note(note));
        })
        .ok()
}

/// What is wrong in a file that is no TOML, at the place that names it.
pub(super) fn file_mistakes(path: &str, at: At, mistakes: &Mistakes, out: &mut Diagnostics) {
    let error = Diagnostic::new("E149", at, format!("there are mistakes in \"{path}\""));
    let text = mistakes.to_string();
    let mut lines = text.lines();
    let error = error.note(format!("{path}:{}", lines.next().unwrap_or_default()));
    let rest: Vec<String> = lines.map(|line| format!("{path}:{line}")).collect();
    out.push(if rest.is_empty() { error } else { error.help(rest.join("\n")) });
}

/// For tables of names and keys, so that nobody can crowd a place of them.
pub(super) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn jwt(section: &Section<'_>, outside: &Outside<'_>, out: &mut Diagnostics) -> Option<AuthMethod> {
    if section.entry("jwks").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", section.at, "`jwks` is missing");
        out.push(error.note("such as jwks = \"https://id.example.com/jwks.json\""));
    }
    let algorithms = algorithms(section, out);
    let keys = section.text("jwks", out);
    let keys = keys.and_then(|(text, at)| jwks(text, at, algorithms, outside, out));
    let text =
        |key: &str, out: &mut Diagnostics| section.text(key, out).map(|(text, _)| text.to_owned());
    let texts = |key: &str, out: &mut Diagnostics| {
        let list = section.texts(key, false, out).unwrap_or_default();
        list.into_iter().map(|spot| spot.value.to_owned()).collect::<Vec<_>>()
    };
    let require = match section.entry("require") {
        Some(_) => texts("require", out),
        None => vec!["exp".to_owned()],
    };
    let to_headers = fields::claims(section.named("to_headers", out), out);
    let mut rules = jwt::Rules {
        issuers: text("issuer", out).into_iter().collect(),
        audiences: texts("audience", out),
        require,
        algorithms,
        ..jwt::Rules::default()
    };
    if let Some(leeway) = section.time("leeway", out) {
        rules.leeway_s = leeway.as_secs() as u32;
    }
    if let Some(claim) = text("scopes_claim", out) {
        rules.scopes_claims = vec![claim];
    }
    if let Some(claim) = text("consumer_claim", out) {
        rules.consumer_claim = claim;
    }
    Some(AuthMethod::Jwt(Box::new(JwtSource {
        keys: keys?,
        algorithms,
        rules,
        to_headers,
        header: match section.entry("header") {
            Some(_) => field_name(section, "header", out)?,
            None => EditName::new("Authorization"),
        },
        cookie: word(section, "cookie", out).map(|text| text.into_bytes().into()),
        keep: section.bool("keep", out).unwrap_or(true),
    })))
}

/// Those that count, when it says so.
fn algorithms(section: &Section<'_>, out: &mut Diagnostics) -> jwks::Algs {
    let Some(list) = section.texts("algorithms", false, out) else { return jwks::Algs::PUBLIC };
    let mut algs = Vec::new();
    for spot in list {
        if let Some(alg) = jwks::Alg::named(spot.value) {
            algs.push(alg);
            continue;
        }
        let names: Vec<&str> = jwks::Alg::ALL.iter().map(|alg| alg.name()).collect();
        let title = format!("\"{}\" is no algorithm that counts", spot.value);
        out.push(Diagnostic::new("E103", spot.at, title).note(one_of(&names)));
    }
    jwks::Algs::of(&algs)
}

fn jwks(
    text: &str,
    at: At,
    algorithms: jwks::Algs,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Keys> {
    if let Some(path) = text.strip_prefix("file:") {
        let bytes = file_bytes(outside.read_list(path, at, JWKS_BYTES_MAX), path, at, out)?;
        return match jwks::KeySet::parse(&bytes, algorithms) {
            Ok(keys) => {
                unused_keys(path, at, &keys, out);
                Some(Keys::Known(std::sync::Arc::new(keys)))
            }
            Err(error) => {
                let title = format!("\"{path}\" holds no keys");
                out.push(Diagnostic::new("E149", at, title).note(error.to_string()));
                None
            }
        };
    }
    match super::address::fetched(text) {
        Ok(url) => Some(Keys::Fetched(url)),
        Err(error) => {
            out.push(super::read::fault("E124", at, error));
            None
        }
    }
}

/// Keys of a file that verify nothing.
fn unused_keys(path: &str, at: At, keys: &jwks::KeySet, out: &mut Diagnostics) {
    let Some(first) = keys.skipped().first() else { return };
    let count = keys.skipped().len();
    let title = format!("{count} of the keys in \"{path}\" are not used");
    let kid = first.kid.as_deref().unwrap_or("without a name");
    let note = format!("key {} ({kid}): {}", first.index, first.why);
    out.push(Diagnostic::new("W215", at, title).note(note));
}

fn forward(section: &Section<'_>, out: &mut Diagnostics) -> Option<AuthMethod> {
    if section.entry("to").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", section.at, "`to` is missing");
        out.push(error.note("such as to = \"http://127.0.0.1:9000/verify\""));
    }
    let (to, at) = section.text("to", out)?;
    let url = super::address::fetched(to).map_err(|error| {
        out.push(super::read::fault("E124", at, error));
    });
    let request_headers = field_names(section, "request_headers", out);
    Some(AuthMethod::Forward(Box::new(ForwardSource {
        to: Spot { value: url.ok()?, at },
        request_headers: request_headers
            .unwrap_or_else(|| vec![EditName::new("Authorization"), EditName::new("Cookie")]),
        response_headers: field_names(section, "response_headers", out).unwrap_or_default(),
        consumer_header: field_name(section, "consumer_header", out),
        timeout: section.time("timeout", out),
        remember: section.time("remember", out),
    })))
}

pub(super) fn consumer(
    name: &str,
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Consumer {
    let words = |key: &str, out: &mut Diagnostics| {
        let list = section.texts(key, true, out).unwrap_or_default();
        list.iter().filter_map(|spot| self::words(spot, out)).collect()
    };
    Consumer {
        name: name.to_owned(),
        at: section.at,
        groups: words("groups", out),
        scopes: words("scopes", out),
        plan: section.text("plan", out).map(|(text, at)| Spot { value: text.to_owned(), at }),
        api_keys: nodes(section, "api_keys", out)
            .iter()
            .filter_map(|node| api_key_digest(node, outside, out))
            .collect(),
        basic: section.node("basic").and_then(|node| password_hash(node, outside, out)),
    }
}

/// A word of groups or scopes.
pub(super) fn words(spot: &Spot<&str>, out: &mut Diagnostics) -> Option<String> {
    let is_word = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\\');
    let text = spot.value;
    if text.is_empty() || text.len() > WORD_BYTES_MAX || !text.bytes().all(is_word) {
        let error = Diagnostic::new("E103", spot.at, format!("\"{text}\" is no word"));
        out.push(error.note("visible ASCII without space, comma, quote or backslash; at most 128"));
        return None;
    }
    Some(text.to_owned())
}

/// One text or a list of them, as nodes.
fn nodes<'t>(section: &Section<'t>, key: &str, out: &mut Diagnostics) -> Vec<&'t Node> {
    match section.node(key) {
        None => Vec::new(),
        Some(node) => match &node.value {
            Value::Text(_) => vec![node],
            Value::List(list) => list.iter().collect(),
            _ => {
                out.push(wrong_type(node, "a text or a list of texts"));
                Vec::new()
            }
        },
    }
}

fn api_key_digest(
    node: &Node,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Spot<Digest>> {
    let (text, at) = text_of(node, out)?;
    if text.starts_with("sha256:") {
        let digest = read_digest(text.as_bytes());
        if digest.is_none() {
            let error = Diagnostic::new("E118", at, "this is no SHA-256");
            out.push(
                error.note("`sha256:` and 64 digits in lower case; `busbar key hash` makes it"),
            );
        }
        return digest.map(|value| Spot { value, at });
    }
    let key = secret::read_node(node, outside, "`busbar key hash` gives the sha256 form", out)?;
    Some(Spot { value: digest_of(key.expose()), at })
}

fn password_hash(
    node: &Node,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Spot<Secret>> {
    let (text, at) = text_of(node, out)?;
    let note = "write \"${NAME}\", \"file:/path\" or \"credential:NAME\"";
    let secret = match text.starts_with('$') {
        true => Secret::new(text.as_bytes()), // a hash itself
        false => secret::read_node(node, outside, note, out)?,
    };
    if let Err(why) = hash::PasswordHash::parse(secret.expose()) {
        let error = Diagnostic::new("E118", at, "this is no hash of a password");
        out.push(error.note(why.to_string()));
        return None;
    }
    Some(Spot { value: secret, at })
}

/// The rest of the consumers: the file's name and text.
pub(super) fn consumers_file(
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Spot<(String, Vec<u8>)>> {
    if section.entry("file").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", section.at, "`file` is missing");
        out.push(error.note("such as file = \"consumers.csv\""));
    }
    let (path, at) = section.text("file", out)?;
    let bytes = file_bytes(outside.read_list(path, at, CONSUMERS_BYTES_MAX), path, at, out)?;
    Some(Spot { value: (path.to_owned(), bytes), at })
}

pub(super) fn plan(name: &str, section: &Section<'_>, out: &mut Diagnostics) -> Plan {
    Plan {
        name: name.to_owned(),
        at: section.at,
        rate_limits: guards::rate_limits(section, keys::PLAN_RATE, out).unwrap_or_default(),
        concurrency: guards::concurrency(section, keys::PLAN_CONCURRENCY, out).unwrap_or_default(),
    }
}
