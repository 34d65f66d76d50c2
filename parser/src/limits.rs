//! Every bound of this crate.

/// Bounds of what a peer may send before it is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Start line, fields and the empty line together.
    pub head_bytes_max: u32,
    /// Field lines of a head, and of a trailer section.
    pub fields_max: u16,
    /// The request target alone; larger is 414.
    pub target_bytes_max: u32,
    /// Extensions of one chunk, semicolons included; a whole body may have 16 times as many.
    pub chunk_ext_bytes_max: u32,
    /// The trailer section, its empty line included.
    pub trailer_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes_max: 32 << 10,
            fields_max: 100,
            target_bytes_max: 16 << 10,
            chunk_ext_bytes_max: 256,
            trailer_bytes_max: 8 << 10,
        }
    }
}
