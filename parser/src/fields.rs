//! The field table of one head: names and values as spans, known names as small ids.

use crate::span::Span;

macro_rules! known_fields {
    ($($id:ident = $name:literal,)*) => {
        /// Fields the gateway itself looks at. All others are `Other` and looked up by name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[repr(u8)]
        pub enum FieldId { #[default] Other, $($id,)* }

        // Sets of fields have one bit for each, bit 0 being `Other`'s.
        const _: () = assert!(FieldId::KNOWN.len() <= 63);

        impl FieldId {
            /// `(id, lower-case name)` of every known field.
            pub const KNOWN: &'static [(FieldId, &'static str)] = &[$((FieldId::$id, $name),)*];
        }
    };
}

known_fields! {
    Host = "host",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Http2Settings = "http2-settings",
    Expect = "expect",
    MaxForwards = "max-forwards",
    Date = "date",
    Via = "via",
    Server = "server",
    Accept = "accept",
    Authorization = "authorization",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
    CacheControl = "cache-control",
    Range = "range",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XRequestId = "x-request-id",
    XRealIp = "x-real-ip",
    UserAgent = "user-agent",
    Origin = "origin",
    SecWebSocketKey = "sec-websocket-key",
    BusbarReason = "busbar-reason",
}

impl FieldId {
    /// The id of a token in any case. Length and first letter leave at most one candidate each.
    #[inline]
    pub fn of(name: &[u8]) -> FieldId {
        let Some(first) = name.first() else { return FieldId::Other };
        let (id, known): (FieldId, &[u8]) = match (name.len(), first | 0x20) {
            (2, b't') => (FieldId::Te, b"te"),
            (3, b'v') => (FieldId::Via, b"via"),
            (4, b'h') => (FieldId::Host, b"host"),
            (4, b'd') => (FieldId::Date, b"date"),
            (5, b'r') => (FieldId::Range, b"range"),
            (6, b'a') => (FieldId::Accept, b"accept"),
            (6, b'c') => (FieldId::Cookie, b"cookie"),
            (6, b's') => (FieldId::Server, b"server"),
            (6, b'e') => (FieldId::Expect, b"expect"),
            (6, b'o') => (FieldId::Origin, b"origin"),
            (7, b't') => (FieldId::Trailer, b"trailer"),
            (7, b'u') => (FieldId::Upgrade, b"upgrade"),
            (9, b'f') => (FieldId::Forwarded, b"forwarded"),
            (9, b'x') => (FieldId::XRealIp, b"x-real-ip"),
            (10, b'c') => (FieldId::Connection, b"connection"),
            (10, b'k') => (FieldId::KeepAlive, b"keep-alive"),
            (10, b'u') => (FieldId::UserAgent, b"user-agent"),
            (10, b's') => (FieldId::SetCookie, b"set-cookie"),
            (12, b'c') => (FieldId::ContentType, b"content-type"),
            (12, b'm') => (FieldId::MaxForwards, b"max-forwards"),
            (12, b'x') => (FieldId::XRequestId, b"x-request-id"),
            (13, b'a') => (FieldId::Authorization, b"authorization"),
            (13, b'b') => (FieldId::BusbarReason, b"busbar-reason"),
            (13, b'c') if name[1] | 0x20 == b'a' => (FieldId::CacheControl, b"cache-control"),
            (13, b'c') => (FieldId::ContentRange, b"content-range"),
            (14, b'c') => (FieldId::ContentLength, b"content-length"),
            (14, b'h') => (FieldId::Http2Settings, b"http2-settings"),
            (15, b'x') => (FieldId::XForwardedFor, b"x-forwarded-for"),
            (16, b'c') => (FieldId::ContentEncoding, b"content-encoding"),
            (16, b'p') => (FieldId::ProxyConnection, b"proxy-connection"),
            (16, b'x') => (FieldId::XForwardedHost, b"x-forwarded-host"),
            (17, b't') => (FieldId::TransferEncoding, b"transfer-encoding"),
            (17, b'x') => (FieldId::XForwardedProto, b"x-forwarded-proto"),
            (17, b's') => (FieldId::SecWebSocketKey, b"sec-websocket-key"),
            (18, b'p') => (FieldId::ProxyAuthenticate, b"proxy-authenticate"),
            (19, b'p') => (FieldId::ProxyAuthorization, b"proxy-authorization"),
            _ => return FieldId::Other,
        };
        if is_same_token(name, known) { id } else { FieldId::Other }
    }
}

/// A set of known fields, one bit for each. `Other` is in none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FieldSet(u64);

impl FieldSet {
    pub const fn of(ids: &[FieldId]) -> FieldSet {
        let (mut bits, mut at) = (0, 0);
        while at < ids.len() {
            bits |= 1 << ids[at] as u8;
            at += 1;
        }
        FieldSet(bits & !1)
    }

    pub const fn with(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 | other.0)
    }

    #[inline]
    pub const fn has(self, id: FieldId) -> bool {
        self.0 & (1 << id as u8) != 0
    }
}

/// `name` in any case is `known`, which is lower-case and as long. Letters are folded by setting
/// one bit, words at a time; among tokens only letters of the other case meet that way.
#[inline]
fn is_same_token(name: &[u8], known: &[u8]) -> bool {
    const FOLD: u64 = 0x2020_2020_2020_2020;
    if let (Some((head, _)), Some((known_head, _))) =
        (name.split_first_chunk::<8>(), known.split_first_chunk::<8>())
        && let (Some((_, tail)), Some((_, known_tail))) =
            (name.split_last_chunk::<8>(), known.split_last_chunk::<8>())
    {
        let is_same =
            |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) | FOLD == u64::from_le_bytes(*b);
        let middle = 8..name.len().saturating_sub(8).max(8);
        return is_same(head, known_head)
            && is_same(tail, known_tail)
            && name[middle.clone()].eq_ignore_ascii_case(&known[middle]);
    }
    name.iter().zip(known).all(|(a, b)| a | 0x20 == *b)
}

/// One field line. `value` has no surrounding white space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub id: FieldId,
}

/// The field lines of one head in their order. Storage is kept over `clear`, so that a worker
/// allocates it once.
#[derive(Debug, Default, Clone)]
pub struct Fields {
    list: Vec<Field>,
    /// Bit `id` is set when a field with that id is present. That of `Other` says nothing.
    present: u64,
    /// The same for ids that more than one field has.
    repeated: u64,
}

impl Fields {
    pub fn with_capacity(fields_max: usize) -> Fields {
        Fields { list: Vec::with_capacity(fields_max), ..Fields::default() }
    }

    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        self.present = 0;
        self.repeated = 0;
    }

    #[inline]
    pub fn push(&mut self, field: Field) {
        let bit = 1 << field.id as u8;
        self.repeated |= self.present & bit;
        self.present |= bit;
        self.list.push(field);
    }

    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[inline]
    pub fn has(&self, id: FieldId) -> bool {
        self.present & (1 << id as u8) != 0 && id != FieldId::Other
    }

    /// The first field with this id. One test of a bit when there is none.
    #[inline]
    pub fn get(&self, id: FieldId) -> Option<&Field> {
        if !self.has(id) {
            return None;
        }
        self.list.iter().find(|f| f.id == id)
    }

    /// The field with this id, when there is one and no other.
    #[inline]
    pub fn only(&self, id: FieldId) -> Option<&Field> {
        if self.is_repeated(id) { None } else { self.get(id) }
    }

    /// All fields with this id, in order. Looks no further than the first when that is the only
    /// one.
    #[inline]
    pub fn all(&self, id: FieldId) -> impl Iterator<Item = &Field> {
        let (first, list): (_, &[Field]) =
            if self.is_repeated(id) { (None, &self.list) } else { (self.get(id), &[]) };
        first.into_iter().chain(list.iter().filter(move |f| f.id == id))
    }

    #[inline]
    fn is_repeated(&self, id: FieldId) -> bool {
        self.repeated & (1 << id as u8) != 0 && id != FieldId::Other
    }

    /// All fields whose name is `name` (any case), in order.
    #[inline]
    pub fn named<'a>(&'a self, buf: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a Field> {
        self.list.iter().filter(move |f| f.name.of(buf).eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case_and_no_neighbour_is() {
        for &(id, name) in FieldId::KNOWN {
            assert_eq!(FieldId::of(name.as_bytes()), id);
            assert_eq!(FieldId::of(name.to_uppercase().as_bytes()), id);
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] = if other[at] == b'_' { b'-' } else { b'_' };
                assert_eq!(FieldId::of(&other), FieldId::Other, "{name} at {at}");
            }
        }
        assert_eq!(FieldId::of(b""), FieldId::Other);
    }

    #[test]
    fn a_set_has_what_it_is_made_of() {
        let set = FieldSet::of(&[FieldId::Te, FieldId::Other]).with(FieldSet::of(&[FieldId::Via]));
        for &(id, _) in FieldId::KNOWN {
            assert_eq!(set.has(id), matches!(id, FieldId::Te | FieldId::Via));
        }
        assert!(!set.has(FieldId::Other));
    }

    #[test]
    fn fields_with_one_id_come_in_order_and_others_do_not() {
        let buf = b"host via Via x";
        let at = |start, end| Span::new(start, end);
        let mut fields = Fields::with_capacity(4);
        for name in [at(0, 4), at(5, 8), at(9, 12), at(13, 14)] {
            fields.push(Field { name, value: name, id: FieldId::of(name.of(buf)) });
        }
        let via: Vec<_> = fields.all(FieldId::Via).map(|f| f.name.start).collect();
        assert_eq!(via, [5, 9]);
        assert!(fields.get(FieldId::Te).is_none() && !fields.has(FieldId::Other));
        assert_eq!(fields.named(buf, b"X").count(), 1);
        fields.clear();
        assert!(fields.is_empty() && !fields.has(FieldId::Host));
    }
}
