//! Keys that callers send as they are: in a field, in the query or in a cookie.

use parser::FieldId;

use super::identify::Found;
use super::{Refusal, RequestCx, Who};
use crate::http::edit::EditName;

/// Longer ones are no keys of ours.
const KEY_BYTES_MAX: usize = 512;

/// Where a key is looked for.
#[derive(Debug, Default)]
pub struct ApiKey {
    pub header: Option<EditName>,
    pub query: Option<Box<[u8]>>,
    pub cookie: Option<Box<[u8]>>,
    /// The key goes on to the service.
    pub keep: bool,
}

/// The key as it stands in the request, when it stands there once.
enum Place<'a> {
    None,
    One(&'a [u8]),
    Twice,
}

impl<'a> Place<'a> {
    fn and(self, value: &'a [u8]) -> Place<'a> {
        match self {
            Place::None => Place::One(value),
            _ => Place::Twice,
        }
    }
}

impl ApiKey {
    pub(super) fn look(&self, cx: &mut RequestCx<'_>) -> Found {
        match self.find(cx) {
            Place::None => Found::Nothing,
            Place::Twice => Found::Bad(Refusal::BAD_CREDENTIAL),
            Place::One(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
                Found::Bad(Refusal::BAD_CREDENTIAL)
            }
            Place::One(key) => match cx.consumers.by_key(key) {
                None => Found::Bad(Refusal::BAD_CREDENTIAL),
                Some(id) => cx.admitted.found(Who::Consumer(id), &[]),
            },
        }
    }

    /// A key in two places is two keys, even if they are equal.
    fn find<'a>(&self, cx: &RequestCx<'a>) -> Place<'a> {
        let facts = cx.facts;
        let mut place = Place::None;
        if let Some(name) = &self.header {
            for field in facts.fields.iter().filter(|field| name.is(field, facts.head)) {
                place = place.and(field.value.of(facts.head));
            }
        }
        if let Some(name) = &self.query {
            for value in params(facts.query).filter_map(|param| value_of(param, name)) {
                place = place.and(value);
            }
        }
        if let Some(name) = &self.cookie {
            for value in cookies(cx).filter_map(|cookie| value_of(cookie, name)) {
                place = place.and(value);
            }
        }
        place
    }
}

/// Removes a parameter from the query that is sent.
pub(super) fn take_param(cx: &mut RequestCx<'_>, name: &[u8]) {
    let query = cx.facts.query;
    if params(query).any(|param| value_of(param, name).is_some()) {
        cx.admitted.take_params(query, |param| value_of(param, name).is_some());
    }
}

/// Writes the cookies anew, without those of these names; the field itself does not go on.
pub(super) fn take_cookies(cx: &mut RequestCx<'_>, names: &dyn Fn(&[u8]) -> bool) {
    let is_left = |cookie: &&[u8]| {
        let name = cookie.split(|&b| b == b'=').next().unwrap_or_default();
        name.len() == cookie.len() || !names(name)
    };
    let others = cookies(cx).filter(is_left);
    let out = &mut cx.admitted.to_service;
    let start = out.len();
    for (i, cookie) in others.enumerate() {
        out.extend_from_slice(if i == 0 { b"Cookie: " } else { b"; " });
        out.extend_from_slice(cookie);
    }
    if out.len() > start {
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether a parameter of a query has this name, as services read it.
pub fn is_param(param: &[u8], name: &[u8]) -> bool {
    value_of(param, name).is_some()
}

fn params(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|&b| b == b'&').filter(|param| !param.is_empty())
}

fn cookies<'a>(cx: &RequestCx<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let facts = cx.facts;
    let lines = facts.fields.all(FieldId::Cookie).map(|field| field.value.of(facts.head));
    lines.flat_map(split_cookies)
}

fn split_cookies(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&b| b == b';').map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}

/// The value of `name=value`.
fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

/// A token that stands alone in a cookie; `Err`: there are several.
pub(super) fn cookie<'a>(
    cx: &RequestCx<'a>,
    name: &[u8],
) -> Result<Option<&'a [u8]>, super::cx::Twice> {
    let mut found = cookies(cx).filter_map(|cookie| value_of(cookie, name));
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(super::cx::Twice),
        (one, None) => Ok(one),
    }
}
