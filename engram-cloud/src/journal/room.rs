//! How a page is shared out: what is left of it, and whether a row still fits.

/// Rows and bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// Returns each one's share where `count` want some.
    pub(super) fn share(&self, count: usize) -> Self {
        let count = count.max(1);
        Self { rows: (self.rows / count).max(1).min(self.rows), bytes: self.bytes / count }
    }

    /// Takes a row's bytes, if it fits beside the `taken` bytes of its own share.
    ///
    /// A first row that is larger than the share may have all the room there is, and the first row of a page more than
    /// that: it would never fit.
    pub(super) fn take(&mut self, share: &Self, taken: usize, bytes: usize, is_first_of_page: bool) -> bool {
        let fits = taken + bytes <= share.bytes || (taken == 0 && bytes <= self.bytes) || is_first_of_page;
        if fits {
            self.rows -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        fits
    }
}
