//! What this machine does at best with bytes: hashing on one processor, and one file written in sequence.

use super::BenchError;
use super::ratios::Row;
use super::scratch::Scratch;
use super::stats::figure;
use md5::{Digest, Md5};
use sha2::Sha256;
use siltstone_log::host::Clock;
use siltstone_log::host::real::RealClock;
use std::fs::File;
use std::io::{self, Write};

const MIB: usize = 1 << 20;
/// How long a hash is measured.
const LEAST_NANOS: u64 = 300_000_000;
/// How much is written, in pieces of a mebibyte, and then synced.
const WRITTEN_MIB: u64 = 256;

pub(super) fn rows(scratch: &Scratch) -> Result<Vec<Row>, BenchError> {
    let row = |what: &str, figure| Row::plain(format!("Machine: {what}"), "MB/s", figure, "-");
    Ok(vec![
        row("MD5", md5()),
        row("SHA-256", hashing(&mut Sha256::new(), |hasher, data| hasher.update(data))),
        row("BLAKE3", hashing(&mut blake3::Hasher::new(), |hasher, data| _ = hasher.update(data))),
        row("write and sync", writing(scratch)?),
    ])
}

/// MD5 on one processor, MB/s: the slowest stage that a PUT cannot do without.
pub(super) fn md5() -> f64 {
    hashing(&mut Md5::new(), |hasher, data| hasher.update(data))
}

fn hashing<H>(hasher: &mut H, absorb: impl Fn(&mut H, &[u8])) -> f64 {
    let (clock, data, mut blocks) = (RealClock::default(), vec![0x5a; MIB], 0u64);
    while clock.monotonic_nanos() < LEAST_NANOS {
        // Without a use of its state the compiler would be free to leave the hashing out.
        absorb(std::hint::black_box(&mut *hasher), &data);
        blocks += 1;
    }
    megabytes_per_second(blocks, clock.monotonic_nanos())
}

#[expect(clippy::disallowed_methods, reason = "the benchmark's own file, which no state machine knows")]
fn writing(scratch: &Scratch) -> io::Result<f64> {
    let (clock, data) = (RealClock::default(), vec![0x5a; MIB]);
    let mut file = File::create(scratch.join("sequential"))?;
    for _ in 0..WRITTEN_MIB {
        file.write_all(&data)?;
    }
    file.sync_data()?;
    Ok(megabytes_per_second(WRITTEN_MIB, clock.monotonic_nanos()))
}

fn megabytes_per_second(blocks: u64, nanos: u64) -> f64 {
    figure(blocks * MIB as u64) * 1000.0 / figure(nanos.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mebibyte_in_a_millisecond_is_a_gigabyte_a_second() {
        assert!((megabytes_per_second(1, 1_000_000) - 1048.576).abs() < 1e-9);
    }
}
