//! The field table of one head: names and values as spans, known names as small ids.

use crate::span::Span;

macro_rules! known_fields {
    ($($id:ident = $name:literal,)*) => {
        /// Fields the gateway itself looks at. All others are `Other` and looked up by name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[repr(u8)]
        pub enum FieldId { #[default] Other, $($id,)* }

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
    /// Bit `id` is set when a field with that id is present; `Other` has no bit.
    present: u64,
}

impl Fields {
    pub fn with_capacity(fields_max: usize) -> Fields {
        Fields { list: Vec::with_capacity(fields_max), present: 0 }
    }

    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        self.present = 0;
    }

    #[inline]
    pub fn push(&mut self, field: Field) {
        self.list.push(field);
        self.present |= (1 << field.id as u8) & !1;
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

    /// All fields with this id, in order.
    #[inline]
    pub fn all(&self, id: FieldId) -> impl Iterator<Item = &Field> {
        let none = !self.has(id);
        self.list.iter().take(if none { 0 } else { usize::MAX }).filter(move |f| f.id == id)
    }

    /// All fields whose name is `name` (any case), in order.
    #[inline]
    pub fn named<'a>(&'a self, buf: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a Field> {
        self.list.iter().filter(move |f| f.name.of(buf).eq_ignore_ascii_case(name))
    }
}
