//! The catalogue of row keys. Every key that is ever stored is a variant here, with its layout.
//!
//! A key begins with a kind byte. Numbers are big-endian, so that byte order is their order. An object key or name
//! that something follows is escaped: `00` becomes `00 FF`, and `00 00` ends it, which keeps the order of the plain
//! bytes whatever follows. Kind bytes are never used again for another layout (`13` had the uploads by their ids).

use crate::rows::RowError;
use siltstone_log::hlc::Hlc;
use siltstone_log::id::{AccountId, BlobId, Seq, StreamId, UploadId, VersionId};
use std::borrow::Cow;

/// Kind byte of cursors (both spaces): `00 [stream 16]`.
pub const CURSOR: u8 = 0x00;
/// The key of a space's own record (both spaces): `01`.
pub const META: u8 = 0x01;
/// Kind byte of the commit trail (both spaces): `02 [commit number u64]`, without a value.
pub const TRAIL: u8 = 0x02;
/// Kind byte of what the rows were built without (both spaces): `03 [stream 16]`.
pub const LACKING: u8 = 0x03;
/// Rows from this kind byte on count in the digest.
pub const FIRST_COUNTED: u8 = 0x10;

/// A key of the `State` space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateKey<'a> {
    /// `10 [stream 16]`: a bucket.
    Bucket(StreamId),
    /// `11 [stream 16] [key]`: what a key holds now. The key comes last and is not escaped.
    Current(StreamId, Cow<'a, str>),
    /// `12 [stream 16] [escaped key] [!seq u64]`: a version of a key as S3 shows it, newest first.
    Version(StreamId, Cow<'a, str>, Seq),
    /// `14 [stream 16] [upload 16]`: the key of an upload under way.
    UploadById(StreamId, UploadId),
    /// `15 [stream 16] [upload 16] [number u16]`: a part of an upload under way.
    Part(StreamId, UploadId, u16),
    /// `16 [stream 16] [seq u64]`: the key of the version that this record of the stream made.
    VersionBySeq(StreamId, Seq),
    /// `17 [stream 16] [version 16]`: the record that made the version with this id.
    VersionById(StreamId, VersionId),
    /// `18 [stream 16] [escaped key] [!seq u64]`: a version that was deleted or replaced, newest first.
    Past(StreamId, Cow<'a, str>, Seq),
    /// `19 [removed u64] [stream 16] [seq u64]`: a version that was deleted or replaced, the longest removed first.
    Expiry(Hlc, StreamId, Seq),
    /// `1b [stream 16] [key]`: the record that made a key's null version, where that is not what the key holds.
    Null(StreamId, Cow<'a, str>),
    /// `1c [stream 16] [escaped key] [seq u64] [upload 16]`: a multipart upload under way, in listing order: each key's
    /// oldest first.
    Upload(StreamId, Cow<'a, str>, Seq, UploadId),
    /// `1d [blob 16] [stream 16] [!end u64] [seq u64]`: a version or part that has bytes in this blob, none of them at or
    /// after `end`. The one that reaches furthest comes first.
    BlobRef(BlobId, StreamId, u64, Seq),
    /// `1e [blob 16] [stream 16]`: how many versions and parts of a bucket have bytes in this blob.
    Blob(BlobId, StreamId),
}

impl<'a> StateKey<'a> {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bucket(stream) => start(0x10, stream, 0),
            Self::Current(stream, key) => {
                let mut out = start(0x11, stream, key.len());
                out.extend_from_slice(key.as_bytes());
                out
            }
            Self::Null(stream, key) => {
                let mut out = start(0x1b, stream, key.len());
                out.extend_from_slice(key.as_bytes());
                out
            }
            Self::Version(stream, key, seq) => {
                let mut out = Self::versions_of(*stream, key);
                out.extend_from_slice(&(!seq.get()).to_be_bytes());
                out
            }
            Self::Upload(stream, key, seq, upload) => {
                let mut out = Self::uploads_of(*stream, key);
                out.extend_from_slice(&seq.get().to_be_bytes());
                out.extend_from_slice(&upload.0);
                out
            }
            Self::UploadById(stream, upload) => {
                let mut out = start(0x14, stream, 16);
                out.extend_from_slice(&upload.0);
                out
            }
            Self::Part(stream, upload, number) => {
                let mut out = Self::parts_of(*stream, *upload);
                out.extend_from_slice(&number.to_be_bytes());
                out
            }
            Self::VersionBySeq(stream, seq) => {
                let mut out = start(0x16, stream, 8);
                out.extend_from_slice(&seq.get().to_be_bytes());
                out
            }
            Self::VersionById(stream, version) => {
                let mut out = start(0x17, stream, 16);
                out.extend_from_slice(&version.0);
                out
            }
            Self::Past(stream, key, seq) => {
                let mut out = Self::past_of(*stream, key);
                out.extend_from_slice(&(!seq.get()).to_be_bytes());
                out
            }
            Self::Expiry(removed, stream, seq) => {
                let mut out = Vec::with_capacity(33);
                out.push(0x19);
                out.extend_from_slice(&removed.0.to_be_bytes());
                out.extend_from_slice(&stream.0);
                out.extend_from_slice(&seq.get().to_be_bytes());
                out
            }
            Self::BlobRef(blob, stream, end, seq) => {
                let mut out = Self::refs_of(*blob, *stream);
                out.extend_from_slice(&(!end).to_be_bytes());
                out.extend_from_slice(&seq.get().to_be_bytes());
                out
            }
            Self::Blob(blob, stream) => {
                let mut out = Self::blobs_from(*blob);
                out.extend_from_slice(&stream.0);
                out
            }
        }
    }

    /// Reads a stored key back.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RowError> {
        Self::parse(bytes).ok_or_else(|| RowError::key(bytes))
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (first, rest) = match kind {
            // The one kind that begins with a time.
            0x19 => {
                let (removed, rest) = rest.split_first_chunk()?;
                let (stream, rest) = rest.split_first_chunk()?;
                let (seq, rest) = seq(rest)?;
                let removed = Hlc(u64::from_be_bytes(*removed));
                return finished(rest, Self::Expiry(removed, StreamId(*stream), seq));
            }
            _ => rest.split_first_chunk()?,
        };
        let stream = StreamId(*first);
        match kind {
            0x10 => finished(rest, Self::Bucket(stream)),
            0x11 => Some(Self::Current(stream, Cow::Borrowed(std::str::from_utf8(rest).ok()?))),
            0x12 => {
                let (key, rest) = unescape_text(rest)?;
                let (seq, rest) = inverted_seq(rest)?;
                finished(rest, Self::Version(stream, key, seq))
            }
            0x14 => {
                let (upload, rest) = rest.split_first_chunk()?;
                finished(rest, Self::UploadById(stream, UploadId(*upload)))
            }
            0x15 => {
                let (upload, rest) = rest.split_first_chunk()?;
                let (number, rest) = rest.split_first_chunk()?;
                finished(rest, Self::Part(stream, UploadId(*upload), u16::from_be_bytes(*number)))
            }
            0x16 => {
                let (seq, rest) = seq(rest)?;
                finished(rest, Self::VersionBySeq(stream, seq))
            }
            0x17 => {
                let (version, rest) = rest.split_first_chunk()?;
                finished(rest, Self::VersionById(stream, VersionId(*version)))
            }
            0x18 => {
                let (key, rest) = unescape_text(rest)?;
                let (seq, rest) = inverted_seq(rest)?;
                finished(rest, Self::Past(stream, key, seq))
            }
            0x1d => {
                let (stream, rest) = rest.split_first_chunk()?;
                let (end, rest) = rest.split_first_chunk()?;
                let (seq, rest) = seq(rest)?;
                let end = !u64::from_be_bytes(*end);
                finished(rest, Self::BlobRef(BlobId(*first), StreamId(*stream), end, seq))
            }
            0x1e => {
                let (stream, rest) = rest.split_first_chunk()?;
                finished(rest, Self::Blob(BlobId(*first), StreamId(*stream)))
            }
            0x1b => Some(Self::Null(stream, Cow::Borrowed(std::str::from_utf8(rest).ok()?))),
            0x1c => {
                let (key, rest) = unescape_text(rest)?;
                let (seq, rest) = seq(rest)?;
                let (upload, rest) = rest.split_first_chunk()?;
                finished(rest, Self::Upload(stream, key, seq, UploadId(*upload)))
            }
            _ => None,
        }
    }

    /// What the keys of all buckets begin with.
    pub fn buckets() -> Vec<u8> {
        vec![0x10]
    }

    /// What the keys of all current objects of a bucket begin with, whose object keys begin with `prefix`.
    pub fn current_under(stream: StreamId, prefix: &str) -> Vec<u8> {
        let mut out = start(0x11, &stream, prefix.len());
        out.extend_from_slice(prefix.as_bytes());
        out
    }

    /// What the keys of all versions of a bucket begin with, whose object keys begin with `prefix`.
    pub fn versions_under(stream: StreamId, prefix: &str) -> Vec<u8> {
        let mut out = start(0x12, &stream, prefix.len());
        escape(prefix.as_bytes(), &mut out);
        out
    }

    /// What the keys of all versions of an object key begin with.
    pub fn versions_of(stream: StreamId, key: &str) -> Vec<u8> {
        let mut out = start(0x12, &stream, key.len() + 10);
        escape(key.as_bytes(), &mut out);
        out.extend_from_slice(&END);
        out
    }

    /// What the keys of all deleted or replaced versions of an object key begin with.
    pub fn past_of(stream: StreamId, key: &str) -> Vec<u8> {
        let mut out = start(0x18, &stream, key.len() + 10);
        escape(key.as_bytes(), &mut out);
        out.extend_from_slice(&END);
        out
    }

    /// What the keys of all deleted or replaced versions of a bucket begin with.
    pub fn past_of_bucket(stream: StreamId) -> Vec<u8> {
        start(0x18, &stream, 0)
    }

    /// What the keys of all deleted or replaced versions of all buckets begin with, in the order of their removal.
    pub fn expiries() -> Vec<u8> {
        vec![0x19]
    }

    /// What the keys of everything of a bucket that has bytes in a blob begin with.
    pub fn refs_of(blob: BlobId, stream: StreamId) -> Vec<u8> {
        [&[0x1d], blob.as_bytes().as_slice(), stream.as_bytes().as_slice()].concat()
    }

    /// What the key of a blob begins with, and where those of the blobs from it on begin.
    pub fn blobs_from(blob: BlobId) -> Vec<u8> {
        [&[0x1e], blob.as_bytes().as_slice()].concat()
    }

    /// What the keys of all blobs begin with.
    pub fn blobs() -> Vec<u8> {
        vec![0x1e]
    }

    /// What the keys of all uploads of a bucket begin with, whose object keys begin with `prefix`.
    pub fn uploads_under(stream: StreamId, prefix: &str) -> Vec<u8> {
        let mut out = start(0x1c, &stream, prefix.len() + 26);
        escape(prefix.as_bytes(), &mut out);
        out
    }

    /// What the keys of all uploads of one object key begin with.
    pub fn uploads_of(stream: StreamId, key: &str) -> Vec<u8> {
        let mut out = Self::uploads_under(stream, key);
        out.extend_from_slice(&END);
        out
    }

    /// What the keys of all uploads of a bucket begin with, by their ids.
    pub fn uploads_by_id(stream: StreamId) -> Vec<u8> {
        start(0x14, &stream, 0)
    }

    /// What the keys of all parts of a bucket begin with.
    pub fn parts_of_bucket(stream: StreamId) -> Vec<u8> {
        start(0x15, &stream, 0)
    }

    /// What the keys of all parts of an upload begin with.
    pub fn parts_of(stream: StreamId, upload: UploadId) -> Vec<u8> {
        let mut out = start(0x15, &stream, 18);
        out.extend_from_slice(&upload.0);
        out
    }
}

/// What a user has, under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attachment {
    /// Byte `00`: an access key.
    Key,
    /// Byte `01`: a policy.
    Policy,
}

/// A key of the `System` space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemKey<'a> {
    /// `10 [name]`: a bucket's name.
    Name(Cow<'a, str>),
    /// `11 [account 16]`: an account.
    Account(AccountId),
    /// `12 [name]`: a user.
    User(Cow<'a, str>),
    /// `13 [access key id]`: an access key.
    AccessKey(Cow<'a, str>),
    /// `14 [name]`: a tenant.
    Tenant(Cow<'a, str>),
    /// `15 [canonical id]`: the account that S3 shows under this id.
    Canonical(Cow<'a, str>),
    /// `16 [escaped user] [00 key | 01 policy] [id]`: a user's access key or policy.
    Attached(Cow<'a, str>, Attachment, Cow<'a, str>),
    /// `17 [account 16] [name]`: an account's bucket.
    NameByOwner(AccountId, Cow<'a, str>),
}

impl<'a> SystemKey<'a> {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Name(name) => text(0x10, name),
            Self::Account(account) => [&[0x11], account.as_bytes().as_slice()].concat(),
            Self::User(name) => text(0x12, name),
            Self::AccessKey(id) => text(0x13, id),
            Self::Tenant(name) => text(0x14, name),
            Self::Canonical(id) => text(0x15, id),
            Self::Attached(user, attachment, id) => {
                let mut out = Self::attached_to(user, *attachment);
                out.extend_from_slice(id.as_bytes());
                out
            }
            Self::NameByOwner(account, name) => {
                let mut out = Self::names_of(*account);
                out.extend_from_slice(name.as_bytes());
                out
            }
        }
    }

    /// Reads a stored key back.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RowError> {
        Self::parse(bytes).ok_or_else(|| RowError::key(bytes))
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let plain = |rest| std::str::from_utf8(rest).ok().map(Cow::Borrowed);
        Some(match kind {
            0x10 => Self::Name(plain(rest)?),
            0x11 => {
                let (account, rest) = rest.split_first_chunk()?;
                finished(rest, Self::Account(AccountId(*account)))?
            }
            0x12 => Self::User(plain(rest)?),
            0x13 => Self::AccessKey(plain(rest)?),
            0x14 => Self::Tenant(plain(rest)?),
            0x15 => Self::Canonical(plain(rest)?),
            0x16 => {
                let (user, rest) = unescape_text(rest)?;
                let (attachment, rest) = rest.split_first()?;
                let attachment = match attachment {
                    0 => Attachment::Key,
                    1 => Attachment::Policy,
                    _ => return None,
                };
                Self::Attached(user, attachment, plain(rest)?)
            }
            0x17 => {
                let (account, rest) = rest.split_first_chunk()?;
                Self::NameByOwner(AccountId(*account), plain(rest)?)
            }
            _ => return None,
        })
    }

    /// What the keys of all bucket names begin with.
    pub fn names() -> Vec<u8> {
        vec![0x10]
    }

    /// What the keys of all accounts begin with.
    pub fn accounts() -> Vec<u8> {
        vec![0x11]
    }

    /// What the keys of all users begin with.
    pub fn users() -> Vec<u8> {
        vec![0x12]
    }

    /// What the keys of all tenants begin with.
    pub fn tenants() -> Vec<u8> {
        vec![0x14]
    }

    /// What the keys of everything a user has begin with.
    pub fn everything_attached_to(user: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(user.len() + 4);
        out.push(0x16);
        escape(user.as_bytes(), &mut out);
        out.extend_from_slice(&END);
        out
    }

    /// What the keys of all of a user's access keys, or policies, begin with.
    pub fn attached_to(user: &str, attachment: Attachment) -> Vec<u8> {
        let mut out = Self::everything_attached_to(user);
        out.push(match attachment {
            Attachment::Key => 0,
            Attachment::Policy => 1,
        });
        out
    }

    /// What the keys of all bucket names of an account begin with.
    pub fn names_of(account: AccountId) -> Vec<u8> {
        [&[0x17], account.as_bytes().as_slice()].concat()
    }
}

const END: [u8; 2] = [0, 0];

fn start(kind: u8, stream: &StreamId, more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + StreamId::LEN + more);
    out.push(kind);
    out.extend_from_slice(&stream.0);
    out
}

fn text(kind: u8, text: &str) -> Vec<u8> {
    [&[kind], text.as_bytes()].concat()
}

fn finished<T>(rest: &[u8], key: T) -> Option<T> {
    rest.is_empty().then_some(key)
}

fn seq(bytes: &[u8]) -> Option<(Seq, &[u8])> {
    let (seq, rest) = bytes.split_first_chunk()?;
    Some((Seq(u64::from_be_bytes(*seq)), rest))
}

fn inverted_seq(bytes: &[u8]) -> Option<(Seq, &[u8])> {
    let (seq, rest) = seq(bytes)?;
    Some((Seq(!seq.get()), rest))
}

fn escape(plain: &[u8], out: &mut Vec<u8>) {
    for byte in plain {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
}

/// Reads an escaped text and returns what follows its end.
fn unescape_text(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    let (plain, rest) = bytes.split_at_checked(zero)?;
    if let Some(rest) = rest.strip_prefix(&END) {
        // Nearly every key: nothing was escaped.
        return Some((Cow::Borrowed(std::str::from_utf8(plain).ok()?), rest));
    }
    let (mut text, mut rest) = (plain.to_vec(), rest);
    loop {
        match rest {
            [0, 0, rest @ ..] => return Some((Cow::Owned(String::from_utf8(text).ok()?), rest)),
            [0, 0xff, after @ ..] => {
                text.push(0);
                rest = after;
            }
            [0, ..] | [] => return None,
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests;
