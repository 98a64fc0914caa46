//! libFuzzer on the parsers of outside bytes. The targets are those of the tests (src/s3/fuzz.rs, log/src/fuzz_targets.rs),
//! asserts included, and so are their corpora (tests/fuzz/corpus); `SILTSTONE_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<String> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target = TARGET.get_or_init(|| std::env::var("SILTSTONE_FUZZ_TARGET").expect("SILTSTONE_FUZZ_TARGET"));
    let known = siltstone_log::fuzz_targets::one(target, input) || siltstone::s3::fuzz::one(target, input);
    assert!(known, "no target is called {target}");
});
