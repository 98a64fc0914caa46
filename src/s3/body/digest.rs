//! Digests of a body: what proves it, and what is stored with it. Runs beside the I/O where a body is large.

use super::BodyError;
use super::checksum::Hasher;
use crate::engine::Permit;
use crate::s3::sigv4::ChunkChain;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use siltstone_log::event::{Checksum, ChecksumAlgorithm, ChecksumKind};
use tokio::task::JoinHandle;

/// A body up to this size is digested where it is read: handing it to another thread would cost more.
const INLINE_BYTES: u64 = 64 * 1024;
/// How much is handed over at once.
const BATCH_BYTES: usize = 256 * 1024;

/// One step of digesting.
#[derive(Debug)]
pub(super) enum Step {
    /// Bytes of content.
    Data(Bytes),
    /// A signed chunk ended.
    ChunkEnd([u8; 32]),
    /// The signed trailer, as its canonical lines.
    Trailer(Vec<u8>, [u8; 32]),
}

impl Step {
    /// What it costs to keep: a client that sends single bytes must not queue more steps than bytes were admitted.
    fn cost(&self) -> usize {
        let content = match self {
            Self::Data(bytes) => bytes.len(),
            Self::ChunkEnd(_) => 0,
            Self::Trailer(lines, _) => lines.len(),
        };
        content + size_of::<Self>()
    }
}

/// Everything that is computed over one body.
pub(super) struct Digester {
    md5: Md5,
    payload: Option<Context>,
    chain: Option<(ChunkChain, Context)>,
    chain_holds: bool,
    checksums: Vec<(ChecksumAlgorithm, Hasher)>,
}

/// What came out.
pub(super) struct Digests {
    pub(super) md5: [u8; 16],
    /// The SHA-256 of everything, where it was asked for.
    pub(super) payload: Option<[u8; 32]>,
    /// Whether every chunk signature was right.
    pub(super) chain_holds: bool,
    pub(super) checksums: Vec<(ChecksumAlgorithm, Vec<u8>)>,
}

impl Digests {
    /// The checksums, as they are stored with an object.
    pub(super) fn into_checksums(self) -> Vec<Checksum> {
        let kind = ChecksumKind::FullObject;
        let checksum = |(algorithm, value)| Checksum { algorithm, kind, value };
        self.checksums.into_iter().map(checksum).collect()
    }
}

impl Digester {
    pub(super) fn new(payload: bool, chain: Option<ChunkChain>) -> Self {
        Self {
            md5: Md5::new(),
            payload: payload.then(|| Context::new(&SHA256)),
            chain: chain.map(|chain| (chain, Context::new(&SHA256))),
            chain_holds: true,
            checksums: Vec::new(),
        }
    }

    /// Adds a checksum, if it is not there yet. Must come before the first byte.
    pub(super) fn add(&mut self, algorithm: ChecksumAlgorithm) {
        if !self.checksums.iter().any(|(present, _)| *present == algorithm) {
            self.checksums.push((algorithm, Hasher::new(algorithm)));
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Data(bytes) => {
                self.md5.update(&bytes);
                if let Some(payload) = &mut self.payload {
                    payload.update(&bytes);
                }
                if let Some((_, chunk)) = &mut self.chain {
                    chunk.update(&bytes);
                }
                for (_, hasher) in &mut self.checksums {
                    hasher.update(&bytes);
                }
            }
            Step::ChunkEnd(signature) => {
                if let Some((chain, chunk)) = &mut self.chain {
                    let hash = std::mem::replace(chunk, Context::new(&SHA256)).finish();
                    self.chain_holds &= chain.verify_chunk(&fixed(hash.as_ref()), &signature);
                }
            }
            Step::Trailer(lines, signature) => {
                if let Some((chain, _)) = &mut self.chain {
                    self.chain_holds &= chain.verify_trailer(&lines, &signature);
                }
            }
        }
    }

    fn steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
        }
    }

    pub(super) fn finish(self) -> Digests {
        Digests {
            md5: self.md5.finalize().into(),
            payload: self.payload.map(|payload| fixed(payload.finish().as_ref())),
            chain_holds: self.chain_holds,
            checksums: self.checksums.into_iter().map(|(name, hasher)| (name, hasher.finish())).collect(),
        }
    }
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

/// The digesting thread is gone: it panicked, or the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

enum Lane {
    Idle(Box<Digester>),
    Busy(JoinHandle<Box<Digester>>),
    Gone,
}

/// Feeds a digester: at once for a small body, else in batches on a blocking thread, one ahead of the reader.
pub(super) struct Pipeline {
    lane: Lane,
    queue: Vec<Step>,
    /// What the queue costs.
    queued: usize,
    inline: bool,
    /// Shared with the batch under way, which outlives a client that goes.
    permit: Option<Permit>,
}

impl Pipeline {
    pub(super) fn new(digester: Digester, declared: Option<u64>) -> Self {
        let inline = declared.is_some_and(|len| len <= INLINE_BYTES);
        Self { lane: Lane::Idle(Box::new(digester)), queue: Vec::new(), queued: 0, inline, permit: None }
    }

    pub(super) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// The digester, before anything was pushed.
    pub(super) fn digester(&mut self) -> Option<&mut Digester> {
        match &mut self.lane {
            Lane::Idle(digester) => Some(digester),
            Lane::Busy(_) | Lane::Gone => None,
        }
    }

    pub(super) async fn push(&mut self, step: Step) -> Result<(), Lost> {
        if let (true, Lane::Idle(digester)) = (self.inline, &mut self.lane) {
            digester.step(step);
            return Ok(());
        }
        self.queued += step.cost();
        self.queue.push(step);
        if self.queued < BATCH_BYTES {
            return Ok(());
        }
        let mut digester = self.settle().await?;
        let batch = std::mem::take(&mut self.queue);
        self.queued = 0;
        let permit = self.permit.clone();
        self.lane = Lane::Busy(tokio::task::spawn_blocking(move || {
            digester.steps(batch);
            drop(permit);
            digester
        }));
        Ok(())
    }

    /// Waits for the batch under way. The lane is gone until it is set again.
    async fn settle(&mut self) -> Result<Box<Digester>, Lost> {
        // ORDER: the handle stays in the lane while it is awaited, so that a cancelled caller loses nothing.
        if let Lane::Busy(handle) = &mut self.lane {
            let joined = handle.await;
            self.lane = joined.map_or(Lane::Gone, Lane::Idle);
        }
        match std::mem::replace(&mut self.lane, Lane::Gone) {
            Lane::Idle(digester) => Ok(digester),
            Lane::Busy(_) | Lane::Gone => Err(Lost),
        }
    }

    pub(super) async fn finish(&mut self) -> Result<Digests, Lost> {
        let mut digester = self.settle().await?;
        let rest = std::mem::take(&mut self.queue);
        if self.queued <= usize::try_from(INLINE_BYTES).unwrap_or(usize::MAX) {
            digester.steps(rest);
            return Ok(digester.finish());
        }
        let finished = tokio::task::spawn_blocking(move || {
            digester.steps(rest);
            digester.finish()
        });
        finished.await.map_err(|_| Lost)
    }
}

/// Digests of content that is stored already, for copies of it.
pub(in crate::s3) struct ContentDigest(Pipeline);

impl ContentDigest {
    /// What `len` bytes at most hold while they wait to be digested.
    pub(in crate::s3) fn memory(len: u64) -> u64 {
        len.min(2 * BATCH_BYTES as u64)
    }

    /// MD5 and these checksums, over so many bytes.
    pub(in crate::s3) fn new(checksums: &[ChecksumAlgorithm], len: u64, permit: Permit) -> Self {
        let mut digester = Digester::new(false, None);
        for algorithm in checksums {
            digester.add(*algorithm);
        }
        let mut pipeline = Pipeline::new(digester, Some(len));
        pipeline.hold(permit);
        Self(pipeline)
    }

    /// Takes more bytes.
    pub(in crate::s3) async fn push(&mut self, bytes: Bytes) -> Result<(), BodyError> {
        self.0.push(Step::Data(bytes)).await.map_err(|_| BodyError::DigestsLost)
    }

    /// MD5 and checksums.
    pub(in crate::s3) async fn finish(mut self) -> Result<([u8; 16], Vec<Checksum>), BodyError> {
        let digests = self.0.finish().await.map_err(|_| BodyError::DigestsLost)?;
        Ok((digests.md5, digests.into_checksums()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_of_single_bytes_are_handed_over_before_they_outweigh_a_batch() {
        let mut pipeline = Pipeline::new(Digester::new(false, None), None);
        let bytes = Bytes::from_static(b"x");
        let mut longest = 0;
        for _ in 0..3 * BATCH_BYTES / size_of::<Step>() {
            pipeline.push(Step::Data(bytes.clone())).await.unwrap();
            longest = longest.max(pipeline.queue.len());
        }
        assert!(longest * size_of::<Step>() <= BATCH_BYTES, "{longest} steps were queued");
        let total = 3 * BATCH_BYTES / size_of::<Step>();
        let expected: [u8; 16] = Md5::digest(vec![b'x'; total]).into();
        assert_eq!(pipeline.finish().await.unwrap().md5, expected);
    }
}
