//! Changes to fields as data, applied once while a head is encoded.

use parser::{Field, FieldId};

use crate::http::template::Template;

#[derive(Debug, Default)]
pub struct HeaderEdits {
    pub request: Edits,
    pub response: Edits,
    /// What of `request` came from the environment: nobody is shown it.
    pub hidden: Box<[Box<str>]>,
}

/// `remove` first, then `set` (replaces all of that name), then `add`.
#[derive(Debug, Default)]
pub struct Edits {
    pub set: Box<[Edit]>,
    pub add: Box<[Edit]>,
    pub remove: Box<[EditName]>,
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether fields of this name go: they are set anew, or removed. `name` tells unknown ones
    /// apart.
    pub fn replaces(&self, id: FieldId, name: &[u8]) -> bool {
        let same = |n: &EditName| match n.id {
            FieldId::Other => n.text.as_bytes().eq_ignore_ascii_case(name),
            known => known == id,
        };
        self.remove.iter().any(same) || self.set.iter().any(|e| same(&e.name))
    }
}

#[derive(Debug)]
pub struct Edit {
    pub name: EditName,
    pub value: Template,
}

/// A field name with its id, so that a known name is compared by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditName {
    pub id: FieldId,
    /// As written in the file.
    pub text: Box<str>,
}

impl EditName {
    pub fn new(name: &str) -> EditName {
        EditName { id: FieldId::of(name.as_bytes()), text: name.into() }
    }

    /// Whether a field has this name. `head` is what it was read from.
    #[inline]
    pub fn is(&self, field: &Field, head: &[u8]) -> bool {
        self.id == field.id
            && (self.id != FieldId::Other
                || self.text.as_bytes().eq_ignore_ascii_case(field.name.of(head)))
    }

    /// Whether a service can take a field for this one: many make `_` of `-` (RFC 3875 §4.1.18).
    #[inline]
    pub fn is_like(&self, field: &Field, head: &[u8]) -> bool {
        self.is(field, head) || (field.id == FieldId::Other && self.reads_like(field.name.of(head)))
    }

    /// The same of a name alone.
    pub fn reads_like(&self, name: &[u8]) -> bool {
        let plain = |b: &u8| if *b == b'_' { b'-' } else { b.to_ascii_lowercase() };
        let text = self.text.as_bytes();
        name.len() == text.len() && name.iter().map(plain).eq(text.iter().map(plain))
    }
}
