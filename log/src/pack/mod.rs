//! Packs: where content that is too large for a record lies, in extents of a few large files.
//!
//! **Contract.** A blob is reported durable only after every pack it touches was synced, file and name, after the
//! blob's last write; the record that names it is submitted after that. Space that was reserved and not committed is
//! given back at once while the program runs, and by [`recovery`] after a crash. After a failed write or sync no blob
//! is reported durable any more. Overwrites and deletes never touch a blob before their record is durable.
//!
//! The way of a blob: [`stager::BlobStager`] cuts the bytes into pieces with their place, [`stager::BlobHasher`]
//! hashes them beside the writing, [`writer::PackWriter`] (a state machine, driven by [`driver::PackThread`]) gives
//! the places and orders the syncs, [`index::BlobIndex`] remembers where the blob lies, [`reader::BlobReader`] reads
//! it back with every block checked. [`staged::StagedBlob`] gives the space back if the blob is not committed.

pub mod api;
pub mod driver;
pub mod format;
pub mod index;
mod open_pack;
pub mod place;
pub mod reader;
pub mod recovery;
pub mod staged;
pub mod stager;
mod write_gate;
pub mod writer;

pub use api::{PackConfig, PackEffect, PackInput, PackRefusal};
pub use driver::{PackClient, PackError, PackThread};
pub use index::{BlobIndex, BlobIndexError, MemoryBlobIndex};
pub use place::{BlobPlace, ExtentPlace};
pub use reader::BlobReader;
pub use staged::StagedBlob;
pub use stager::{BlobHasher, BlobStager};
pub use writer::PackWriter;

use crate::host::{FilePath, Folder};

/// Everything in a pack begins at a multiple of this.
pub const PAGE: u64 = 4096;
/// Bytes of content under one checksum, which is what a ranged read has to read at least.
pub const BLOCK: u32 = 64 * 1024;
/// The most content bytes in one extent.
pub const MAX_EXTENT: u32 = 4 * 1024 * 1024;

/// The file of a pack.
pub fn pack_file(number: u32) -> FilePath {
    FilePath::new(Folder::Packs, format!("{number:08x}.pack"))
}

/// The number of a pack's file; `None` for a name that is none of ours.
pub fn pack_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".pack")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (format!("{number:08x}") == digits).then_some(number)
}

/// Rounds up to whole pages.
pub(crate) fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_mul(PAGE)
}

#[cfg(test)]
mod tests;
