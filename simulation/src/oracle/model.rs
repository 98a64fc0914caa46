//! The reference: what a log means, folded a second time by the plainest means there are.

use super::bucket::{Bucket, Origin};
use super::content::Blobs;
use super::history::{History, Intent, OpId, Tags};
use siltstone_log::event::Event;
use siltstone_log::id::StreamId;
use siltstone_log::name::BucketName;
use std::collections::BTreeMap;

/// All that a log says.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The names taken, with their streams.
    pub names: BTreeMap<BucketName, StreamId>,
    /// The tags that streams which have not begun yet were asked for with.
    pub asked_tags: BTreeMap<StreamId, Tags>,
    /// Every bucket there ever was.
    pub buckets: BTreeMap<StreamId, Bucket>,
    /// Every blob that a version, past or not, or an upload under way has bytes in.
    pub blobs: Blobs,
    /// How long what was removed is kept at least, where the wall clock can be trusted.
    pub window_millis: Option<u64>,
}

/// A record says what no operation could have meant, or contradicts what came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(pub String);

/// A contradiction in words.
pub fn contradiction<T>(message: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction(message.into()))
}

impl Model {
    /// A bucket, as far as it is known.
    pub fn bucket(&self, stream: StreamId) -> Option<&Bucket> {
        self.buckets.get(&stream)
    }

    /// Takes the next record of a stream. `op` is the operation that it names, with what that was meant to do.
    pub fn apply(
        &mut self,
        stream: StreamId,
        at: Origin,
        event: &Event,
        op: Option<(OpId, &Intent)>,
    ) -> Result<(), Contradiction> {
        if let Some((_, intent)) = op {
            self.check_decision(stream, event, intent)?;
        }
        let done = match event {
            Event::BucketNameReserved(reserved) => {
                let stream = *self.names.entry(reserved.name.clone()).or_insert(reserved.stream);
                if stream != reserved.stream {
                    return contradiction(format!("the name {} is taken", reserved.name));
                }
                self.asked_tags.insert(stream, reserved.tags.clone());
                Ok(())
            }
            Event::BucketNameReleased(released) => {
                let sealed = self.bucket(released.stream).is_none_or(|bucket| !bucket.is_open());
                if self.names.remove(&released.name) != Some(released.stream) || !sealed {
                    return contradiction(format!("the name {} was not to be released", released.name));
                }
                Ok(())
            }
            Event::NodeStarted(_)
            | Event::TailDiscarded(_)
            | Event::LogRepaired(_)
            | Event::TenantCreated(_)
            | Event::AccountCreated(_)
            | Event::UserCreated(_)
            | Event::AccessDenied(_)
            | Event::AccessSuppressed(_) => Ok(()),
            event => self.apply_to_bucket(stream, at, event, op),
        };
        self.buckets.entry(stream).or_default().seq = at.seq;
        done
    }

    fn check_decision(&self, stream: StreamId, event: &Event, intent: &Intent) -> Result<(), Contradiction> {
        let second_half =
            matches!(event, Event::BucketCreated(_) | Event::BucketTagged(_) | Event::BucketNameReleased(_));
        // A second record of one DeleteMany is decided with the first.
        if second_half || stream == StreamId::SYSTEM || matches!(intent, Intent::DeleteMany { .. }) {
            return Ok(());
        }
        let rejection = match self.bucket(stream) {
            Some(bucket) => bucket.rejection(intent),
            None => Bucket::default().rejection(intent),
        };
        match rejection {
            Some(rejection) => {
                contradiction(format!("{} should have been rejected: {rejection}", intent.name()))
            }
            None => Ok(()),
        }
    }

    fn apply_to_bucket(
        &mut self,
        stream: StreamId,
        at: Origin,
        event: &Event,
        op: Option<(OpId, &Intent)>,
    ) -> Result<(), Contradiction> {
        let Self { names, asked_tags, buckets, blobs, .. } = self;
        let bucket = buckets.entry(stream).or_default();
        if let Event::BucketCreated(created) = event {
            if bucket.name.is_some() || names.get(&created.name) != Some(&stream) {
                return contradiction(format!("bucket {} was created without its name", created.name));
            }
            bucket.name = Some(created.name.clone());
            // Another creation may go on with the stream, and begins it as it was asked to.
            let asked = asked_tags.remove(&stream).unwrap_or_default();
            bucket.untagged = match op {
                Some((_, Intent::CreateBucket { tags, .. })) => tags.clone(),
                _ => asked,
            };
            return Ok(());
        }
        let untagged = std::mem::take(&mut bucket.untagged);
        if let Event::BucketTagged(tagged) = event {
            if tagged.tags.is_empty() || tagged.tags != untagged {
                return contradiction(format!("a bucket was to begin with the tags {untagged:?}"));
            }
            return Ok(());
        }
        if !untagged.is_empty() {
            return contradiction(format!("a bucket began without the tags {untagged:?}"));
        }
        // What leaves the history window leaves it in deleted buckets as well.
        if let Event::ContentExpired(expired) = event {
            return bucket.expire(blobs, at, expired, self.window_millis);
        }
        if !bucket.is_open() {
            return contradiction(format!("{} in a bucket that is not open", event.name()));
        }
        if let Event::BucketSealed(_) = event {
            return bucket.seal(blobs);
        }
        let Some((op, intent)) = op else {
            return contradiction(format!("{} that nobody asked for", event.name()));
        };
        bucket.apply(blobs, at, event, op, intent)
    }
}

/// The operation that a record names, with what it was meant to do.
pub fn intent_of<'a>(history: &'a History, request_id: &str) -> Option<(OpId, &'a Intent)> {
    let op = OpId::parse(request_id)?;
    Some((op, &history.get(op)?.intent))
}
