//! What a verified token says, in two pieces of memory.

use std::borrow::Cow;
use std::fmt;
use std::str;

use super::jwt::{Denied, Rules};
use super::{Wall, is_printable, json};

/// Of the name by which a token's consumer is known, and of one scope.
const CONSUMER_BYTES_MAX: usize = 256;
const SCOPES_MAX: usize = 256;
/// The end of the year 9999: a date beyond it is a mistake, or milliseconds.
const DATE_MAX: f64 = 253_402_300_799.0;

/// The claims of one token that was found good.
#[derive(Clone)]
pub struct Claims {
    /// Everything that the spans are of.
    text: Box<str>,
    /// The consumer; the scopes, sorted; for each claim, sorted by name: its name, its value as
    /// written, what it is in a field value.
    spans: Box<[Span]>,
    scopes_count: u32,
    until: Wall,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

const NOWHERE: Span = Span { start: u32::MAX, len: 0 };

impl Claims {
    /// Reads what was signed, and holds it against the rules.
    pub(super) fn read(payload: &[u8], rules: &Rules, now: Wall) -> Result<Claims, Denied> {
        let text = str::from_utf8(payload).map_err(|_| Denied::Malformed("claims not in UTF-8"))?;
        let mut members = json::members(text).map_err(Denied::Malformed)?;
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let find = |name: &str| json::find(&members, name);
        let until = dates(find, rules, now)?;
        issuer(find("iss"), rules)?;
        audience(find("aud"), rules)?;
        for name in &rules.require {
            find(name).ok_or_else(|| Denied::Missing(name.clone().into()))?;
        }
        let scopes = scopes(find, rules)?;
        let name = &rules.consumer_claim;
        let consumer = find(name).ok_or_else(|| Denied::Missing(name.clone().into()))?;
        let consumer = consumer_text(consumer).ok_or_else(|| Denied::Claim(name.clone().into()))?;
        let mut made = Made::default();
        made.push(&consumer);
        scopes.iter().for_each(|scope| made.push(scope));
        for (name, value) in &members {
            made.push(name);
            made.push(value);
            match shown(value) {
                Some(text) => made.push(&text),
                None => made.spans.push(NOWHERE),
            }
        }
        let scopes_count = scopes.len() as u32;
        Ok(Claims { text: made.text.into(), spans: made.spans.into(), scopes_count, until })
    }

    /// Who the token is about, as the configured claim says.
    pub fn consumer(&self) -> &str {
        self.piece(self.spans[0])
    }

    /// Sorted, each once.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.scope_spans().iter().map(|&span| self.piece(span))
    }

    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope_spans().binary_search_by(|&span| self.piece(span).cmp(scope)).is_ok()
    }

    /// A claim's value as the token has it, in JSON.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.member(name).map(|[_, value, _]| self.piece(value))
    }

    /// A claim as a field value: strings, numbers, booleans, and lists of strings with spaces
    /// between them. `None` for anything else, and for what has control characters.
    pub fn text(&self, name: &str) -> Option<&str> {
        let [_, _, text] = self.member(name)?;
        (text.start != NOWHERE.start).then(|| self.piece(text))
    }

    /// Whether the claim is `value`, or a list of strings that holds it.
    pub fn has(&self, name: &str, value: &str) -> bool {
        let Some(raw) = self.raw(name) else { return false };
        match json::list(raw) {
            Some(list) => list.iter().any(|raw| json::string(raw).as_deref() == Some(value)),
            None => match json::string(raw) {
                Some(text) => text == value,
                None => !raw.starts_with('{') && raw == value,
            },
        }
    }

    /// When the token is no longer good, leeway included. [`Wall::NEVER`] without `exp`.
    pub fn until(&self) -> Wall {
        self.until
    }

    /// Memory held, for what remembers it.
    pub fn bytes_used(&self) -> usize {
        size_of::<Claims>() + self.text.len() + size_of_val(&*self.spans)
    }

    fn scope_spans(&self) -> &[Span] {
        &self.spans[1..=self.scopes_count as usize]
    }

    fn member(&self, name: &str) -> Option<[Span; 3]> {
        let (members, _) = self.spans[1 + self.scopes_count as usize..].as_chunks::<3>();
        let at = members.binary_search_by(|[known, ..]| self.piece(*known).cmp(name)).ok()?;
        Some(members[at])
    }

    fn piece(&self, span: Span) -> &str {
        &self.text[span.start as usize..(span.start + span.len) as usize]
    }
}

/// Claims may be about people: nothing of them is printed but their size.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({} bytes, until {})", self.text.len(), self.until.0)
    }
}

#[derive(Default)]
struct Made {
    text: String,
    spans: Vec<Span>,
}

impl Made {
    fn push(&mut self, piece: &str) {
        self.spans.push(Span { start: self.text.len() as u32, len: piece.len() as u32 });
        self.text.push_str(piece);
    }
}

/// Holds `exp`, `nbf` and `iat` against the clock (RFC 7519 §4.1.4 to §4.1.6): when the token ends.
fn dates<'a>(
    find: impl Fn(&str) -> Option<&'a str>,
    rules: &Rules,
    now: Wall,
) -> Result<Wall, Denied> {
    let date = |name: &'static str| match find(name) {
        None => Ok(None),
        Some(value) => date(value).map(Some).ok_or(Denied::Claim(name.into())),
    };
    let leeway = u64::from(rules.leeway_s);
    // A part of a second never makes a token good for longer.
    let until = date("exp")?.map_or(Wall::NEVER, |exp| Wall(exp as u64).plus(leeway));
    let from = date("nbf")?.map_or(0, |nbf| nbf.ceil() as u64);
    date("iat")?; // it says when, and refuses nobody: `nbf` is for that
    if now >= until {
        return Err(Denied::Expired);
    }
    if now.plus(leeway).0 < from {
        return Err(Denied::NotYetValid);
    }
    Ok(until)
}

/// A NumericDate: a number, neither below zero nor out of this world.
fn date(value: &str) -> Option<f64> {
    let number: f64 = value.as_bytes().first()?.is_ascii_digit().then(|| value.parse().ok())??;
    (number <= DATE_MAX).then_some(number)
}

fn issuer(value: Option<&str>, rules: &Rules) -> Result<(), Denied> {
    if rules.issuers.is_empty() {
        return Ok(());
    }
    let value = value.ok_or(Denied::Missing("iss".into()))?;
    let issuer = json::string(value).ok_or(Denied::Claim("iss".into()))?;
    if rules.issuers.iter().any(|known| *known == issuer) { Ok(()) } else { Err(Denied::Issuer) }
}

/// RFC 7519 §4.1.3: one string or a list of them.
fn audience(value: Option<&str>, rules: &Rules) -> Result<(), Denied> {
    if rules.audiences.is_empty() {
        return Ok(());
    }
    let value = value.ok_or(Denied::Missing("aud".into()))?;
    let audiences = strings(value).ok_or(Denied::Claim("aud".into()))?;
    let is_known = |audience: &Cow<'_, str>| rules.audiences.iter().any(|a| a == audience);
    if audiences.iter().any(is_known) { Ok(()) } else { Err(Denied::Audience) }
}

/// A string, or all strings of a list.
fn strings(value: &str) -> Option<Vec<Cow<'_, str>>> {
    match json::list(value) {
        Some(list) => list.into_iter().map(json::string).collect(),
        None => Some(vec![json::string(value)?]),
    }
}

/// Scopes of the first of the claims that is there: words with spaces between them (RFC 8693
/// §4.2), or a list of words.
fn scopes<'a>(
    find: impl Fn(&str) -> Option<&'a str>,
    rules: &Rules,
) -> Result<Vec<String>, Denied> {
    let found = rules.scopes_claims.iter().find_map(|name| Some((name, find(name)?)));
    let Some((name, value)) = found else { return Ok(Vec::new()) };
    let wrong = || Denied::Claim(name.clone().into());
    let strings = strings(value).ok_or_else(wrong)?;
    let words = strings.iter().flat_map(|text| text.split(' ')).filter(|word| !word.is_empty());
    let mut scopes: Vec<String> = words.map(str::to_owned).collect();
    if scopes.len() > SCOPES_MAX || scopes.iter().any(|scope| !is_printable(scope.as_bytes())) {
        return Err(wrong());
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn consumer_text(value: &str) -> Option<Cow<'_, str>> {
    let is_scalar = !value.starts_with(['[', '{', 'n']);
    let text = shown(value).filter(|_| is_scalar)?;
    let is_name = !text.is_empty() && text.len() <= CONSUMER_BYTES_MAX && !is_padded(&text);
    is_name.then_some(text)
}

/// Whether spaces stand around it, which is another text to who reads it from a field
/// (RFC 9110 §5.5).
pub fn is_padded(text: &str) -> bool {
    text.trim_matches(' ').len() < text.len()
}

/// A value as [`Claims::text`] gives it.
fn shown(value: &str) -> Option<Cow<'_, str>> {
    let text = match value.as_bytes().first()? {
        b'"' => json::string(value)?,
        b'{' | b'n' => return None,
        b'[' => Cow::Owned(strings(value)?.join(" ")),
        _ => Cow::Borrowed(value),
    };
    is_printable(text.as_bytes()).then_some(text)
}
