//! A blob that no record names yet.

use super::driver::{PackClient, PackError};
use super::place::{BlobPlace, ExtentPlace};
use crate::id::BlobId;

/// Holds a blob's space until the record that names it is durable. Dropped without [`StagedBlob::commit`] it gives
/// the space back: a client that went away leaves nothing behind.
///
/// ORDER: it must outlive every write to the blob's extents. A write that lands after the space was given back
/// takes it again, and nobody would know.
#[must_use = "dropping it gives the blob's space back"]
pub struct StagedBlob {
    client: PackClient,
    blob: BlobId,
    place: Option<BlobPlace>,
    committed: bool,
}

impl StagedBlob {
    /// Begins a blob.
    pub fn new(client: PackClient, blob: BlobId) -> Self {
        Self { client, blob, place: None, committed: false }
    }

    /// The blob's name.
    pub fn blob(&self) -> BlobId {
        self.blob
    }

    /// Where it lies, once [`StagedBlob::finish`] was called.
    pub fn place(&self) -> Option<&BlobPlace> {
        self.place.as_ref()
    }

    /// Asks for room for up to `bytes` more content bytes ([`PackClient::reserve`]).
    pub fn reserve(&self, bytes: u32, reply: impl FnOnce(Result<ExtentPlace, PackError>) + Send + 'static) {
        self.client.reserve(self.blob, bytes, reply);
    }

    /// Says that everything was written, and asks to be told when it is durable ([`PackClient::finish`]).
    pub fn finish(&mut self, place: BlobPlace, reply: impl FnOnce(Result<(), PackError>) + Send + 'static) {
        self.place = Some(place.clone());
        self.client.finish(self.blob, place, reply);
    }

    /// Keeps the blob: the record that names it is durable, or may be (an unknown outcome keeps the blob, since an
    /// orphan is legal and a dangling reference is not).
    pub fn commit(mut self) {
        self.committed = true;
    }
}

impl Drop for StagedBlob {
    fn drop(&mut self) {
        match self.place.take() {
            // A thread that dies in a panic may have submitted the record that names the blob.
            _ if self.committed || std::thread::panicking() => {}
            Some(place) => self.client.free(self.blob, place),
            None => self.client.abandon(self.blob),
        }
    }
}
