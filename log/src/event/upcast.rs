//! Pure, one-to-one conversions from every released schema of an event's body to the current one. Never deleted:
//! a log written by the first release is replayed by the last one.
//!
//! No event has had a second schema yet. The mechanism is exercised by the test-only catalogue in `event/tests.rs`
//! (mutant M20).
