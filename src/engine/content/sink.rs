//! Bytes on their way in.
//!
//! A [`ContentSink`] keeps what is small in one buffer with the salt in front, as the record will carry it. What is
//! larger goes to packs piece by piece: one piece is hashed and written on a blocking thread while the next is
//! received, so an upload holds two pieces at most, whatever its size.

use super::{BlobGuard, Fate, Placement, StagedBlob, StagedContent};
use crate::engine::admission::Permit;
use crate::engine::outcome::{EngineError, Fault, Unavailable};
use bytes::{BufMut, Bytes, BytesMut};
use siltstone_log::host::real::RealDisk;
use siltstone_log::host::{DiskError, DiskOp, Entropy, draw};
use siltstone_log::id::{BlobId, Salt};
use siltstone_log::pack::stager::{Hashed, Piece, StagerStep};
use siltstone_log::pack::{
    self, BlobHasher, BlobPlace, BlobStager, ExtentPlace, PackClient, PackError, PackRefusal,
};
use siltstone_log::record::Salted;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What sinks need to store bytes.
#[derive(Clone)]
pub struct Staging {
    pub(crate) packs: PackClient,
    pub(crate) disk: RealDisk,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The most bytes that go into a record.
    pub(crate) inline_max: usize,
}

/// Takes the bytes of one body. Dropped before [`ContentSink::finish`] it leaves nothing behind.
pub struct ContentSink {
    staging: Arc<Staging>,
    permit: Permit,
    state: State,
}

enum State {
    /// Salt, then the bytes so far.
    Memory(BytesMut),
    Packs(Box<Upload>),
}

impl ContentSink {
    /// Begins a body. `declared` is its length where the client announced one; it is not enforced here.
    pub fn new(staging: Arc<Staging>, placement: Placement, declared: Option<u64>, permit: Permit) -> Self {
        let inline_max = staging.inline_max as u64;
        let state = match placement {
            Placement::InlineIfSmall if declared.is_none_or(|declared| declared <= inline_max) => {
                let expected = declared.unwrap_or(0).min(inline_max);
                let mut buffer =
                    BytesMut::with_capacity(Salt::LEN + usize::try_from(expected).unwrap_or_default());
                buffer.put_slice(&draw::<{ Salt::LEN }>(&*staging.entropy));
                State::Memory(buffer)
            }
            Placement::InlineIfSmall | Placement::Packs => {
                State::Packs(Box::new(Upload::new(&staging, declared, permit.clone())))
            }
        };
        Self { staging, permit, state }
    }

    /// Takes the next bytes. Returns when there is room for more.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), EngineError> {
        if let State::Memory(buffer) = &mut self.state {
            if buffer.len() + bytes.len() <= Salt::LEN + self.staging.inline_max {
                buffer.extend_from_slice(&bytes);
                return Ok(());
            }
            // Larger than was announced, or nothing was: what is here moves to packs.
            let kept = std::mem::take(buffer).freeze();
            let mut upload = Box::new(Upload::new(&self.staging, None, self.permit.clone()));
            upload.push(kept.slice(Salt::LEN.min(kept.len())..)).await?;
            self.state = State::Packs(upload);
        }
        match &mut self.state {
            State::Packs(upload) => upload.push(bytes).await,
            State::Memory(_) => Ok(()),
        }
    }

    /// Says that the body is complete. Content in packs is durable when this returns.
    pub async fn finish(self) -> Result<StagedContent, EngineError> {
        match self.state {
            State::Memory(buffer) if buffer.len() <= Salt::LEN => Ok(StagedContent::Empty),
            State::Memory(buffer) => Ok(StagedContent::Inline(Salted::from_salted(buffer.freeze()))),
            // An empty part has no blob: there is nothing to refer to.
            State::Packs(upload) if upload.stager.is_empty() => Ok(StagedContent::Empty),
            State::Packs(upload) => upload.finish().await,
        }
    }
}

/// What a write gave back: the hasher, and the blob's place if that was its last piece.
type Written = (BlobHasher, Option<BlobPlace>);

/// One blob on its way into packs.
struct Upload {
    packs: PackClient,
    disk: RealDisk,
    /// Shared with the write under way. ORDER: it must outlive that write, or the write would land in space that was
    /// given back.
    staged: Arc<pack::StagedBlob>,
    /// Shared with it as well: the write holds the piece's bytes, even when the client has gone.
    permit: Permit,
    stager: BlobStager,
    hasher: Option<BlobHasher>,
    under_way: Option<JoinHandle<Result<Written, PackError>>>,
    place: Option<BlobPlace>,
}

impl Upload {
    fn new(staging: &Staging, declared: Option<u64>, permit: Permit) -> Self {
        let blob = BlobId(draw(&*staging.entropy));
        let salt = Salt(draw(&*staging.entropy));
        let (stager, hasher) = staging.packs.stager(blob, salt, declared);
        Self {
            packs: staging.packs.clone(),
            disk: staging.disk.clone(),
            staged: Arc::new(pack::StagedBlob::new(staging.packs.clone(), blob)),
            permit,
            stager,
            hasher: Some(hasher),
            under_way: None,
            place: None,
        }
    }

    async fn push(&mut self, bytes: Bytes) -> Result<(), EngineError> {
        self.stager.push(bytes);
        self.advance().await
    }

    /// Does what the stager wants until it wants more bytes.
    async fn advance(&mut self) -> Result<(), EngineError> {
        loop {
            match self.stager.step() {
                StagerStep::Feed | StagerStep::Done => return Ok(()),
                StagerStep::Reserve { bytes } => {
                    let extent = self.reserve(bytes).await?;
                    self.stager.extent(extent);
                }
                StagerStep::Piece(piece) => self.write(piece).await?,
            }
        }
    }

    async fn reserve(&self, bytes: u32) -> Result<ExtentPlace, EngineError> {
        let (reply, room) = oneshot::channel();
        self.staged.reserve(bytes, move |answer| drop(reply.send(answer)));
        room.await.unwrap_or(Err(PackError::Closed)).map_err(|error| refusal(&error))
    }

    /// Waits for the piece before, then starts this one.
    async fn write(&mut self, piece: Piece) -> Result<(), EngineError> {
        self.settle().await?;
        let Some(mut hasher) = self.hasher.take() else { return Err(Fault::Ended("upload").into()) };
        let (packs, disk) = (self.packs.clone(), self.disk.clone());
        let (staged, permit) = (self.staged.clone(), self.permit.clone());
        // This future may be dropped while the write is under way, so whatever follows from the write happens there.
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let written = packs.write(|| write_piece(&disk, &piece, &mut hasher));
            drop((staged, piece, permit));
            written.map(|place| (hasher, place))
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), EngineError> {
        let Some(under_way) = self.under_way.as_mut() else { return Ok(()) };
        let written = under_way.await;
        self.under_way = None;
        match written {
            Ok(Ok((hasher, place))) => {
                self.hasher = Some(hasher);
                self.place = place;
                Ok(())
            }
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(Fault::Ended("upload").into()),
        }
    }

    async fn finish(mut self) -> Result<StagedContent, EngineError> {
        self.stager.end();
        self.advance().await?;
        self.settle().await?;
        let ended = || EngineError::from(Fault::Ended("upload"));
        let place = self.place.take().ok_or_else(ended)?;
        // No write is under way, so nobody else holds it.
        let mut staged = Arc::into_inner(self.staged).ok_or_else(ended)?;
        let (len, hash, id) = (place.len, place.hash, staged.blob());
        let (reply, durable) = oneshot::channel();
        staged.finish(place, move |answer| drop(reply.send(answer)));
        durable.await.unwrap_or(Err(PackError::Closed)).map_err(|error| refusal(&error))?;
        let guard = BlobGuard::new(move |fate| match fate {
            Fate::Kept => staged.commit(),
            Fate::Dropped => drop(staged),
        });
        Ok(StagedContent::Blob(StagedBlob { id, len, hash, guard }))
    }
}

fn write_piece(
    disk: &RealDisk,
    piece: &Piece,
    hasher: &mut BlobHasher,
) -> Result<Option<BlobPlace>, DiskError> {
    let execute = |op: &DiskOp| disk.execute(op).map(drop);
    piece.ops().iter().try_for_each(execute)?;
    match hasher.update(piece) {
        Hashed::More => Ok(None),
        Hashed::Extent(header) => execute(&header).map(|()| None),
        Hashed::Blob(header, place) => execute(&header).map(|()| Some(place)),
    }
}

fn refusal(error: &PackError) -> EngineError {
    match error {
        PackError::Write(error) => Fault::Disk(error.clone()).into(),
        PackError::Busy | PackError::Refused(PackRefusal::Busy) => Unavailable::SlowDown.into(),
        PackError::Refused(PackRefusal::NoSpace) => Unavailable::NoSpace.into(),
        PackError::Refused(PackRefusal::Stopping) | PackError::Closed => Unavailable::ShuttingDown.into(),
        PackError::Refused(PackRefusal::Failed) => Fault::LogStopped.into(),
        PackError::Refused(PackRefusal::NotReserved) | PackError::Index(_) => {
            Fault::Content(error.to_string()).into()
        }
    }
}
