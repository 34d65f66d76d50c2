//! Members of a JSON object as pieces of its text, with every duplicate refused: readers that
//! take the first and readers that take the last must not see two messages in one (RFC 8725 §3.2
//! and RFC 7515 §4 leave a choice; this is the strict one).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Objects and lists within one another.
pub const DEPTH_MAX: usize = 16;

/// `(name, value as written)`.
pub type Member<'a> = (Cow<'a, str>, &'a str);

/// What is wrong with a text.
pub type Fault = &'static str;

/// All members of the object that `text` is, in its order.
pub fn members(text: &str) -> Result<Vec<Member<'_>>, Fault> {
    nested_members(text, DEPTH_MAX)
}

fn nested_members(text: &str, depth: usize) -> Result<Vec<Member<'_>>, Fault> {
    if depth == 0 {
        return Err("JSON nested too deeply");
    }
    let mut from = serde_json::Deserializer::from_str(text);
    let members = from.deserialize_map(Members).map_err(|_| "not a JSON object")?;
    from.end().map_err(|_| "not a JSON object")?;
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("a member twice in JSON");
    }
    members.iter().try_for_each(|(_, value)| no_duplicates(value, depth - 1))?;
    Ok(members)
}

fn no_duplicates(value: &str, depth: usize) -> Result<(), Fault> {
    match value.as_bytes().first() {
        Some(b'{') => nested_members(value, depth).map(drop),
        Some(b'[') if depth == 0 => Err("JSON nested too deeply"),
        Some(b'[') => list(value)
            .ok_or("not a JSON object")?
            .iter()
            .try_for_each(|value| no_duplicates(value, depth - 1)),
        _ => Ok(()),
    }
}

/// Values of a list, as written.
pub fn list(value: &str) -> Option<Vec<&str>> {
    let values: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(values.into_iter().map(RawValue::get).collect())
}

/// What a string says.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The value of one member.
pub fn find<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &RawValue = map.next_value()?;
            // A raw value keeps no promise about what its strings say: half a surrogate pair.
            if value.get().contains("\\u") {
                serde_json::from_str::<serde_json::Value>(value.get()).map_err(A::Error::custom)?;
            }
            members.push((name, value.get()));
        }
        Ok(members)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&[(&str, &str)], Fault>) {
        let found = members(text);
        let plain = found.as_ref().map(|m| m.iter().map(|(n, v)| (&**n, *v)).collect::<Vec<_>>());
        assert_eq!(plain.as_deref().map_err(|fault| **fault), expect, "{text}");
    }

    #[test]
    fn members_are_pieces_of_the_text_and_none_comes_twice() {
        check(r#" { "a" : 1.50 , "b":{"c": [ ]} } "#, Ok(&[("a", "1.50"), ("b", r#"{"c": [ ]}"#)]));
        check(r#"{"\u0061":"\u00e9"}"#, Ok(&[("a", r#""\u00e9""#)]));
        let twice = Err("a member twice in JSON");
        check(r#"{"a":1,"a":1}"#, twice);
        check(r#"{"a":1,"\u0061":2}"#, twice);
        check(r#"{"x":[{"a":1},{"a":1,"a":2}]}"#, twice);
        check(r#"{"x":[{"a":1},{"a":1,"b":2}]}"#, Ok(&[("x", r#"[{"a":1},{"a":1,"b":2}]"#)]));
        let not = Err("not a JSON object");
        for text in ["", "[]", "1", "{", "{}x", "{} {}", "{\"a\":}", "{\"a\":1,}", "{'a':1}"] {
            check(text, not);
        }
        for text in [r#"{"a":"\ud800"}"#, r#"{"\ud800":1}"#, "{\"a\":\"\n\"}", r#"{"a":"\x"}"#] {
            check(text, not);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(members(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(members(&nested(DEPTH_MAX + 1)), Err("JSON nested too deeply"));
        let lists = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(members(&lists(DEPTH_MAX - 1)).is_ok());
        assert_eq!(members(&lists(DEPTH_MAX)), Err("JSON nested too deeply"));
        assert!(members(&lists(4000)).is_err());
    }

    #[test]
    fn strings_say_what_their_escapes_mean() {
        assert_eq!(string(r#""a""#).as_deref(), Some("a"));
        assert_eq!(string(r#""\u00e9\n""#).as_deref(), Some("é\n"));
        assert_eq!(string("1"), None);
        assert_eq!(list("[1, \"a\"]"), Some(vec!["1", "\"a\""]));
        assert_eq!(list("{}"), None);
    }
}
