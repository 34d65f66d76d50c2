//! `Span`: a place in the read buffer. Never a pointer, so that a buffer may move.

/// Start and length in bytes, relative to the buffer that was parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// The span of `start..end`. Heads are bounded far below 4 GiB by [`crate::Limits`].
    #[inline]
    pub const fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span { start: start as u32, len: (end - start) as u32 }
    }

    #[inline]
    pub const fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes this span names in `buf`, which must be the buffer it was made from.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end()]
    }
}
