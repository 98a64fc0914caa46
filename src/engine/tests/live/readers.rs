//! Readers and the space of what they read.

use super::{Live, delete, pattern};
use crate::engine::command::ExpireVersions;
use crate::engine::sweep::Turn;
use crate::engine::tests::key;
use siltstone_log::event::{Content, ContentSource};
use siltstone_log::id::BlobId;
use siltstone_projections::objects;
use siltstone_projections::rows::ObjectRow;

const SIZE: usize = 9 << 20;

pub(super) fn blob_of(row: &ObjectRow) -> BlobId {
    let Content::Slices(slices) = &row.content else { panic!("in packs") };
    let ContentSource::Blob { blob } = slices[0].source else { panic!("a blob") };
    blob
}

#[test]
fn a_version_that_expires_while_it_is_read_is_read_to_its_end_and_its_space_comes_back_then() {
    let (live, stream) = Live::with_bucket();
    live.put(stream, "k", &pattern(SIZE)).unwrap();
    let row = objects::current(&live.engine().view(), stream, &key("k")).unwrap().unwrap();
    let permit = live.engine().try_admit_read(row.size).unwrap();
    let mut reader = live.engine().read_content(&row, 0..u64::MAX, permit);
    let first = live.runtime.block_on(reader.next()).unwrap().unwrap();
    live.submit(delete(stream, "k")).unwrap();
    live.submit(ExpireVersions { stream, versions: vec![(key("k"), row.seq)] }).unwrap();
    let blobs = &live.engine().shared.blobs;
    assert_eq!(blobs.returning(), row.size, "history does not go for it twice");
    assert_eq!(live.sweep_below(u32::MAX), Turn::Done, "nor does the sweep, which finds no row of it");
    assert_eq!(blobs.returning(), row.size);
    let mut bytes = first.to_vec();
    while let Some(chunk) = live.runtime.block_on(reader.next()).unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes == pattern(SIZE));
    drop(reader);
    while blobs.place(blob_of(&row)).is_ok() || blobs.returning() > 0 {
        std::thread::yield_now();
    }
}
