//! Witnesses beside the segments: what is known to be durable, and what is known to be lost. Both may be deleted; they
//! are evidence for recovery, never truth.

mod checkpoint;
mod quarantine;

pub use checkpoint::{CHECKPOINT_BYTES, Checkpoint, SLOT_BYTES, checkpoint_file};
pub use quarantine::{
    QuarantineError, QuarantinedRange, Touched, add_range, decode_quarantine, encode_quarantine, is_refused,
    load_quarantine, quarantine_file, store_quarantine,
};
