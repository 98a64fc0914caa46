//! Bytes of a file as copy-on-write pages, so that a whole disk is cheap to copy and a hole costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page: the unit of sharing, and of what the cache drops.
pub(super) const PAGE: u64 = 4096;
/// Bytes of a sector: the unit that a crash leaves whole.
pub(super) const SECTOR: u64 = 512;

const PAGE_BYTES: usize = 4096;
pub(super) const SECTOR_BYTES: usize = 512;

type Page = Arc<[u8; PAGE_BYTES]>;

/// A file's bytes up to its length; what was never written reads as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("simulated files are far smaller than the address space")
}

impl Sparse {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Sets the length. What lies behind a shorter one is gone, so that growing again shows zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.zero(len, self.len - len);
        }
        self.len = len;
    }

    pub(super) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let end = offset.saturating_add(len).min(self.len);
        let mut out = vec![0; size(end.saturating_sub(offset))];
        for (page, within, at, count) in pieces(offset, end) {
            if let Some(bytes) = self.pages.get(&page) {
                out[at..at + count].copy_from_slice(&bytes[within..within + count]);
            }
        }
        out
    }

    /// Writes bytes; the length does not change, and what lies behind it stays unseen.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for (page, within, at, count) in pieces(offset, offset + data.len() as u64) {
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(bytes)[within..within + count].copy_from_slice(&data[at..at + count]);
        }
    }

    pub(super) fn zero(&mut self, offset: u64, len: u64) {
        for (page, within, _, count) in pieces(offset, offset.saturating_add(len)) {
            if count == PAGE_BYTES {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                Arc::make_mut(bytes)[within..within + count].fill(0);
            }
        }
    }

    /// Whether a range's pages are equal to another file's. Mostly they are the very same.
    pub(super) fn shares(&self, other: &Self, offset: u64, len: u64) -> bool {
        (offset / PAGE..(offset + len).div_ceil(PAGE)).all(|page| {
            match (self.pages.get(&page), other.pages.get(&page)) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
        })
    }

    /// Takes over one page of another file.
    pub(super) fn copy_page(&mut self, from: &Self, page: u64) {
        match from.pages.get(&page) {
            Some(bytes) => self.pages.insert(page, bytes.clone()),
            None => self.pages.remove(&page),
        };
    }
}

/// Cuts a byte range at page borders: (page, offset in it, offset in the range, bytes).
fn pieces(offset: u64, end: u64) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let first = offset / PAGE;
    let last = if end > offset { end.div_ceil(PAGE) } else { first };
    (first..last).map(move |page| {
        let from = offset.max(page * PAGE);
        let to = end.min((page + 1) * PAGE);
        (page, size(from - page * PAGE), size(from - offset), size(to - from))
    })
}
