//! Where one worker works on ciphertext. No connection owns any of it.

/// Read at once: eight of the largest records, and their overhead.
const INCOMING_BYTES: usize = 136 << 10;
/// Plaintext of one send; see [`Tray::SEND_BYTES_MAX`].
const OUT_BYTES: usize = 144 << 10;
const STAGE_BYTES: usize = 16 << 10;

/// A worker's room for ciphertext, used by one connection after the other. Its pages are touched
/// when a first connection speaks TLS.
#[derive(Debug)]
pub struct Tray {
    /// What came.
    pub incoming: Box<[u8]>,
    /// What goes.
    pub out: Out,
    /// A head and the beginning of its body are one record.
    pub(super) stage: Box<[u8]>,
}

impl Tray {
    /// Plaintext that has room in `out` once it is encrypted.
    pub const SEND_BYTES_MAX: usize = 128 << 10;
}

impl Default for Tray {
    fn default() -> Tray {
        let zeroed = |bytes: usize| vec![0; bytes].into_boxed_slice();
        Tray { incoming: zeroed(INCOMING_BYTES), out: Out::default(), stage: zeroed(STAGE_BYTES) }
    }
}

/// Ciphertext on its way out.
#[derive(Debug)]
pub struct Out {
    bytes: Box<[u8]>,
    len: usize,
}

impl Default for Out {
    fn default() -> Out {
        Out { bytes: vec![0; OUT_BYTES].into_boxed_slice(), len: 0 }
    }
}

impl Out {
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    pub(super) fn commit(&mut self, n: usize) {
        debug_assert!(self.len + n <= self.bytes.len());
        self.len += n;
    }
}
