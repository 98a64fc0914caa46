//! Buffers for large reads that are used again.
//!
//! An allocator gives large memory back to the system as soon as it is free, and the next read pays for pages that the
//! system first clears. A server that reads content all the time keeps a few instead.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a buffer: the largest read of content, with an extent's header in front.
const BUFFER: usize = 260 * 1024;
/// Shorter reads get memory of their own: the allocator keeps that at hand itself, and a buffer would waste most of it.
const WORTH_KEEPING: usize = 128 * 1024;
/// The most buffers that are kept while nobody uses them: 4 MiB.
const MAX_KEPT: usize = 16;

/// The buffers that nobody uses. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// Reads up to `len` bytes: `read` fills the slice that it is given and says how many bytes came.
    pub(super) fn read<E>(
        &self,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Bytes, E> {
        if !(WORTH_KEEPING..=BUFFER).contains(&len) {
            let mut buffer = vec![0; len];
            let came = read(&mut buffer)?;
            buffer.truncate(came);
            return Ok(buffer.into());
        }
        let kept = self.kept(Vec::pop);
        let mut lent = Lent { buffer: kept.unwrap_or_else(|| vec![0; BUFFER]), len: 0, home: self.clone() };
        // What an earlier read left there is never shown: only what came counts.
        let came = read(lent.buffer.get_mut(..len).unwrap_or_default())?;
        lent.len = came.min(len);
        Ok(Bytes::from_owner(lent))
    }

    fn kept<T>(&self, with: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A buffer in use. Goes back when the last of its bytes is dropped.
struct Lent {
    buffer: Vec<u8>,
    len: usize,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.home.kept(|kept| {
            if kept.len() < MAX_KEPT {
                kept.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn filled(buffers: &Buffers, len: usize, byte: u8, came: usize) -> Bytes {
        let read = |room: &mut [u8]| {
            assert_eq!(room.len(), len);
            room[..came].fill(byte);
            Ok::<_, Infallible>(came)
        };
        buffers.read(len, read).unwrap()
    }

    #[test]
    fn a_buffer_is_used_again_once_all_its_bytes_are_dropped_and_shows_nothing_of_before() {
        let buffers = Buffers::default();
        let first = filled(&buffers, WORTH_KEEPING, 1, WORTH_KEEPING);
        let part = first.slice(7..9);
        drop(first);
        assert_eq!(buffers.kept(|kept| kept.len()), 0, "a part of it is still in use");
        assert_eq!(*part, [1, 1]);
        drop(part);
        assert_eq!(buffers.kept(|kept| kept.len()), 1);
        let short = filled(&buffers, BUFFER, 2, 3);
        assert_eq!((buffers.kept(|kept| kept.len()), &*short), (0, &[2, 2, 2][..]));
    }

    #[test]
    fn what_is_kept_is_bounded_and_other_lengths_have_memory_of_their_own() {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..2 * MAX_KEPT).map(|_| filled(&buffers, BUFFER, 3, BUFFER)).collect();
        drop(many);
        assert_eq!(buffers.kept(|kept| kept.len()), MAX_KEPT);
        for len in [0, 10, WORTH_KEEPING - 1, BUFFER + 1] {
            assert_eq!(*filled(&buffers, len, 4, len), vec![4; len]);
        }
        assert_eq!(buffers.kept(|kept| kept.len()), MAX_KEPT);
    }

    #[test]
    fn a_read_that_fails_gives_its_buffer_back() {
        let buffers = Buffers::default();
        assert_eq!(buffers.read(BUFFER, |_| Err("broken")).unwrap_err(), "broken");
        assert_eq!(buffers.kept(|kept| kept.len()), 1);
    }
}
