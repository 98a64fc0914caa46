//! libFuzzer on the parsers of outside bytes. The targets are those of the tests, asserts and bounds included, and so are
//! their corpora (tests/fuzz/corpus); `SILTSTONE_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<String> = OnceLock::new();

/// Gives an input to the target that a list has by this name, if it has one.
type List = fn(&str, &[u8]) -> bool;

/// The lists that the tests run too.
const LISTS: [List; 6] = [
    siltstone_log::fuzz_targets::one,
    siltstone_projections::fuzz_targets::one,
    siltstone_replication::fuzz_targets::one,
    siltstone::s3::fuzz::one,
    siltstone::console::fuzz::one,
    siltstone::config::fuzz::one,
];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target =
        TARGET.get_or_init(|| std::env::var("SILTSTONE_FUZZ_TARGET").expect("SILTSTONE_FUZZ_TARGET"));
    let known = LISTS.iter().any(|one| one(target, input));
    assert!(known, "no target is called {target}");
});
