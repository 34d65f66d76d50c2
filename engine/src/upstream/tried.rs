//! What one request has tried.

use super::TRIES_MAX;

/// Targets one request has tried.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tried {
    serials: [u32; TRIES_MAX],
    len: u8,
}

impl Tried {
    pub fn add(&mut self, serial: u32) {
        if let Some(place) = self.serials.get_mut(self.len as usize) {
            *place = serial;
            self.len += 1;
        }
    }

    pub fn has(&self, serial: u32) -> bool {
        self.serials[..self.len as usize].contains(&serial)
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len as usize == TRIES_MAX
    }
}
