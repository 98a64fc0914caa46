//! Known bugs that the simulation must catch: each is planted behind [`active`], which is constant `false` unless the
//! crate is built with the feature `mutants`. A checker that has never caught a bug proves nothing.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A batch is acknowledged when it is written, before `fdatasync` returned.
    AckBeforeSync,
    /// The log folder is not synced after a segment got its name.
    NoFolderSync,
    /// A failed `fdatasync` is tried again, and the writer goes on when that one succeeds.
    RetrySync,
    /// Recovery cuts the log at the first damaged byte, whatever lies behind it.
    TruncateAtDamage,
    /// A record is submitted before the `fdatasync` of its blob returned.
    SubmitBeforeBlobSync,
    /// Projections that remember records which the log has lost count as damaged.
    ForgetLostEnd,
    /// How far the projections are is committed apart from the rows.
    SeparatePosition,
    /// A record that comes again is applied again.
    ApplyAgain,
    /// A page of a listing leaves out its last key, and the next page begins after it.
    SkipAtPageEnd,
    /// The hybrid clock follows a wall clock that went back.
    FollowClockBack,
    /// A completion that is refused deletes what the key holds.
    DeleteOnFailedComplete,
    /// The up-caster of an event's first schema drops a field.
    DropsField,
    /// The order of a hash map reaches the log.
    HashOrder,
    /// A blob is given back although another version has bytes in it.
    FreeShared,
    /// Versions leave the history window before its end.
    ExpireEarly,
    /// The second half of a bucket's creation or deletion that was refused is forgotten.
    ForgetSecondHalf,
    /// The sweep takes content that was staged since the start and waits for its record.
    SweepStaged,
    /// The sweep takes content that only history has.
    SweepPast,
    /// Nothing is swept.
    SweepNothing,
    /// What is left of blobs given back by half stays.
    KeepRemains,
    /// What was admitted for a request counts for ever.
    KeepPermit,
    /// Rows that were built past records which cannot be read do not remember that they lack them.
    ForgetLacking,
}

impl Mutant {
    /// Every mutant, by the number it has in the simulation's report.
    pub const ALL: [(&'static str, Self); 22] = [
        ("M1", Self::AckBeforeSync),
        ("M2", Self::NoFolderSync),
        ("M3", Self::RetrySync),
        ("M4", Self::TruncateAtDamage),
        ("M5", Self::SubmitBeforeBlobSync),
        ("M6", Self::ForgetLostEnd),
        ("M7", Self::SeparatePosition),
        ("M8", Self::ApplyAgain),
        ("M14", Self::SkipAtPageEnd),
        ("M17", Self::FollowClockBack),
        ("M19", Self::DeleteOnFailedComplete),
        ("M20", Self::DropsField),
        ("M21", Self::HashOrder),
        ("M23", Self::FreeShared),
        ("M24", Self::ExpireEarly),
        ("M25", Self::ForgetSecondHalf),
        ("M26", Self::SweepStaged),
        ("M27", Self::SweepPast),
        ("M28", Self::SweepNothing),
        ("M29", Self::KeepRemains),
        ("M30", Self::KeepPermit),
        ("M33", Self::ForgetLacking),
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Plants one mutant in everything that this thread runs, or none.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    /// Whether the mutant is planted in this thread.
    pub fn active(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{active, plant};

/// Whether the mutant is planted: never, in a build without the feature.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn active(_mutant: Mutant) -> bool {
    false
}
