//! Digests of a body: what proves it, and what is stored with it. Runs beside the I/O where a body is large.

mod md5;
mod threads;

use super::BodyError;
use super::checksum::Hasher;
use crate::engine::Permit;
use crate::s3::sigv4::ChunkChain;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use md5::{Feed, Md5, update_together};
use siltstone_log::event::{Checksum, ChecksumAlgorithm, ChecksumKind};
use tokio::sync::oneshot;

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

    fn steps(&mut self, steps: &[Step]) {
        Self::steps_together(&mut [(self, steps)]);
    }

    /// The next steps of several bodies.
    fn steps_together(bodies: &mut [(&mut Self, &[Step])]) {
        for (digester, steps) in &mut *bodies {
            steps.iter().for_each(|step| digester.step_beside_md5(step));
        }
        let feeds = bodies.iter_mut().map(|(digester, steps)| {
            let pieces = steps.iter().filter_map(|step| match step {
                Step::Data(bytes) => Some(bytes.as_ref()),
                Step::ChunkEnd(_) | Step::Trailer(..) => None,
            });
            Feed::new(&mut digester.md5, pieces)
        });
        update_together(feeds.collect());
    }

    /// Everything but MD5.
    fn step_beside_md5(&mut self, step: &Step) {
        match step {
            Step::Data(bytes) => {
                if let Some(payload) = &mut self.payload {
                    payload.update(bytes);
                }
                if let Some((_, chunk)) = &mut self.chain {
                    chunk.update(bytes);
                }
                for (_, hasher) in &mut self.checksums {
                    hasher.update(bytes);
                }
            }
            Step::ChunkEnd(signature) => {
                if let Some((chain, chunk)) = &mut self.chain {
                    let hash = std::mem::replace(chunk, Context::new(&SHA256)).finish();
                    self.chain_holds &= chain.verify_chunk(&fixed(hash.as_ref()), signature);
                }
            }
            Step::Trailer(lines, signature) => {
                if let Some((chain, _)) = &mut self.chain {
                    self.chain_holds &= chain.verify_trailer(lines, signature);
                }
            }
        }
    }

    pub(super) fn finish(self) -> Digests {
        Digests {
            md5: self.md5.finish(),
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
    Busy(oneshot::Receiver<Box<Digester>>),
    Gone,
}

/// Feeds a digester: at once for a small body, else in batches on the digests' threads, one ahead of the reader.
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
        let lane = Lane::Idle(Box::new(digester));
        Self { lane, queue: Vec::new(), queued: 0, inline, permit: None }
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
            digester.steps(&[step]);
            return Ok(());
        }
        self.queued += step.cost();
        self.queue.push(step);
        if self.queued < BATCH_BYTES {
            return Ok(());
        }
        let digester = self.settle().await?;
        self.lane = Lane::Busy(self.hand_over(digester)?);
        Ok(())
    }

    /// Gives the queue to the threads.
    fn hand_over(&mut self, digester: Box<Digester>) -> Result<oneshot::Receiver<Box<Digester>>, Lost> {
        self.queued = 0;
        threads::hand_over(digester, std::mem::take(&mut self.queue), self.permit.clone())
    }

    /// Waits for the batch under way. The lane is gone until it is set again.
    async fn settle(&mut self) -> Result<Box<Digester>, Lost> {
        // ORDER: the receiver stays in the lane while it is awaited, so that a cancelled caller loses nothing.
        if let Lane::Busy(done) = &mut self.lane {
            let digester = done.await;
            self.lane = digester.map_or(Lane::Gone, Lane::Idle);
        }
        match std::mem::replace(&mut self.lane, Lane::Gone) {
            Lane::Idle(digester) => Ok(digester),
            Lane::Busy(_) | Lane::Gone => Err(Lost),
        }
    }

    pub(super) async fn finish(&mut self) -> Result<Digests, Lost> {
        let mut digester = self.settle().await?;
        if self.queued <= usize::try_from(INLINE_BYTES).unwrap_or(usize::MAX) {
            digester.steps(&std::mem::take(&mut self.queue));
        } else {
            digester = self.hand_over(digester)?.await.map_err(|_| Lost)?;
        }
        Ok(digester.finish())
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
    use ::md5::Digest as _;

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
        let expected: [u8; 16] = ::md5::Md5::digest(vec![b'x'; total]).into();
        assert_eq!(pipeline.finish().await.unwrap().md5, expected);
    }

    #[tokio::test]
    async fn bodies_that_are_digested_at_once_have_their_own_digests() {
        let mut bodies: Vec<_> = (0..20u8).map(|_| Pipeline::new(Digester::new(true, None), None)).collect();
        let pieces = |body: usize| {
            (0..8usize).map(move |piece| vec![u8::try_from(body).unwrap(); 50_000 + piece + body])
        };
        for piece in 0..8 {
            for (body, pipeline) in bodies.iter_mut().enumerate() {
                let bytes = pieces(body).nth(piece).unwrap();
                pipeline.push(Step::Data(bytes.into())).await.unwrap();
            }
        }
        for (body, pipeline) in bodies.iter_mut().enumerate() {
            let whole = pieces(body).collect::<Vec<_>>().concat();
            let digests = pipeline.finish().await.unwrap();
            assert_eq!(digests.md5, <[u8; 16]>::from(::md5::Md5::digest(&whole)));
            assert_eq!(digests.payload.unwrap(), <[u8; 32]>::from(sha2::Sha256::digest(&whole)));
        }
    }
}
