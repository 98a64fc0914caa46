//! Copies that share bytes in packs, on the real engine.

use super::{Live, pattern, put};
use crate::engine::command::{
    CompleteMultipart, Conditions, CreateMultipart, NamedPart, PutObject, UploadPart,
};
use crate::engine::tests::key;
use crate::engine::{Placement, SharedContent, StagedContent};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use siltstone_log::event::ContentHeaders;
use siltstone_log::host::draw;
use siltstone_log::id::{Salt, StreamId, UploadId, VersionId};
use siltstone_projections::objects;
use std::cell::RefCell;
use std::ops::Range;

const LEAST_PART: u64 = 5 << 20;
const BASE: u64 = 13 << 20;
/// Below it, a copy has one slice.
const LEAST_SLICE: usize = 1 << 20;

fn shared(live: &Live, stream: StreamId, object: &str, range: Range<u64>) -> Option<StagedContent> {
    let row = objects::current(&live.engine().view(), stream, &key(object)).unwrap().unwrap();
    SharedContent::of(&key(object), &row, range).map(StagedContent::Shared)
}

pub(super) fn share(live: &Live, stream: StreamId, object: &str, range: Range<u64>) -> StagedContent {
    shared(live, stream, object, range).expect("its bytes lie in packs")
}

pub(super) fn begin_upload(live: &Live, stream: StreamId, object: &str) -> UploadId {
    let upload = UploadId(draw(live.engine().entropy()));
    let (headers, metadata, tags) = (ContentHeaders::default(), Vec::new(), Vec::new());
    let key = key(object);
    live.submit(CreateMultipart { stream, upload, key, headers, metadata, checksum: None, tags }).unwrap();
    upload
}

pub(super) fn add_part(
    live: &Live,
    (stream, object, upload): (StreamId, &str, UploadId),
    number: u16,
    content: StagedContent,
) -> NamedPart {
    let etag = Salt([7; 16]).to_string();
    let named = NamedPart { number, etag: etag.clone(), checksums: Vec::new() };
    let (key, checksums, copied_from) = (key(object), Vec::new(), None);
    live.submit(UploadPart { stream, key, upload, number, content, etag, checksums, copied_from }).unwrap();
    named
}

pub(super) fn complete(
    live: &Live,
    (stream, object, upload): (StreamId, &str, UploadId),
    parts: Vec<NamedPart>,
) {
    let complete = CompleteMultipart {
        stream,
        key: key(object),
        upload,
        parts,
        size: None,
        checksum: None,
        checksum_kind: None,
        version: VersionId::default(),
        conditions: Conditions::default(),
    };
    live.submit(complete).unwrap();
}

/// Makes an object of parts that are ranges of another.
fn join(live: &Live, stream: StreamId, object: &str, source: &str, parts: &[Range<u64>]) {
    let at = (stream, object, begin_upload(live, stream, object));
    let parts = (1..).zip(parts);
    let named =
        parts.map(|(number, range)| add_part(live, at, number, share(live, stream, source, range.clone())));
    let named = named.collect();
    complete(live, at, named);
}

fn of(bytes: &[u8], range: &Range<u64>) -> Vec<u8> {
    bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
}

#[test]
fn copies_of_any_layout_of_parts_have_the_bytes_of_their_source() {
    let (mut live, stream) = Live::with_bucket();
    let base = pattern(usize::try_from(BASE).unwrap());
    live.put(stream, "base", &base).unwrap();
    let layouts = (0..LEAST_PART, 0_u64..300_000, 0..BASE, 1_u64..400_000, any::<(u32, u32)>());
    let last = RefCell::new(Vec::new());
    TestRunner::new(Config::with_cases(8))
        .run(&layouts, |(start, more, second, len, (from, to))| {
            let first = start..start + LEAST_PART + more;
            let second = second..(second + len).min(BASE);
            join(&live, stream, "joined", "base", &[first.clone(), second.clone()]);
            let joined = [of(&base, &first), of(&base, &second)].concat();
            prop_assert!(live.get(stream, "joined", 0..u64::MAX).as_ref() == Some(&joined));
            let size = joined.len() as u64;
            let (from, to) = (u64::from(from.min(to)) % size, u64::from(from.max(to)) % size + 1);
            let range = from.min(to - 1)..to.max(from + 1);
            let expected = of(&joined, &range);
            let across = range.start < first.end - first.start && range.end > first.end - first.start;
            let apart = first.end != second.start;
            let content = shared(&live, stream, "joined", range.clone());
            // Few bytes of two slices are written again.
            prop_assert_eq!(content.is_some(), !(across && apart && expected.len() < LEAST_SLICE));
            let content = content.unwrap_or_else(|| live.stage(Placement::Packs, None, &expected));
            live.submit(PutObject { content, ..put(stream, "copy") }).unwrap();
            prop_assert!(live.get(stream, "copy", 0..u64::MAX).as_ref() == Some(&expected));
            last.replace(expected);
            Ok(())
        })
        .unwrap();
    for object in ["base", "joined"] {
        live.submit(super::delete(stream, object)).unwrap();
    }
    live.reopen();
    assert!(live.get(stream, "copy", 0..u64::MAX) == Some(last.take()), "a copy outlives its sources");
}

#[test]
fn inline_bytes_are_not_shared() {
    let (live, stream) = Live::with_bucket();
    live.put(stream, "small", &pattern(100)).unwrap();
    let row = objects::current(&live.engine().view(), stream, &key("small")).unwrap().unwrap();
    assert_eq!(SharedContent::of(&key("small"), &row, 0..100), None);
    let content = live.stage(Placement::Packs, None, &pattern(100));
    live.submit(PutObject { content, ..put(stream, "small") }).unwrap();
    let row = objects::current(&live.engine().view(), stream, &key("small")).unwrap().unwrap();
    assert!(SharedContent::of(&key("small"), &row, 0..100).is_some());
    assert_eq!(SharedContent::of(&key("small"), &row, 100..200), None, "no bytes, nothing to share");
}
