//! Corpora for the parsers of outside bytes, and a bounded loop of mutations of them.
//!
//! Each crate includes this file for its tests. A target is a folder of `tests/fuzz/corpus`; a file's name says what
//! becomes of it: `valid-` and `edge-` are accepted, `hostile-` is refused. No input, mutated or not, may make a parser
//! panic or hold more memory than its bound. What fails is written to `target/fuzz` and belongs into the corpus then.
//!
//! The loop is deterministic: the same seed gives the same inputs. `SILTSTONE_FUZZ_SECONDS` lets each target run that
//! long (`make fuzz SECONDS=…`), `SILTSTONE_FUZZ_SEED` begins elsewhere. A coverage-guided engine calls the same targets
//! (`coverage.rs` beside this file, `make fuzz-coverage`); it needs another toolchain than the pinned one.

/// The targets of a module: each function checks some. Here they become tests; for an engine (`coverage.rs`) the same
/// list becomes the function that finds one by its name. A function that is not in the list is dead code.
macro_rules! targets {
    ($($function:ident),+ $(,)?) => {
        mod mutations {
            $(
                #[test]
                fn $function() {
                    super::$function();
                }
            )+
        }
    };
}
pub(crate) use targets;

#[path = "bound.rs"]
mod bound;

pub(crate) use bound::Bound;

use crate::bless::{bless_or_compare, root};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How many mutations a target gets in a plain test run.
const MUTATIONS: u32 = 1500;
/// Mutations grow no longer than this.
const MAX_INPUT: usize = 64 * 1024;

/// Runs a target: every file of its corpus, then mutations of them. `parse` says whether it accepted.
pub(crate) fn check(target: &str, bound: Bound, parse: impl Fn(&[u8]) -> bool) {
    let corpus = corpus(target);
    for (name, input) in &corpus {
        let accepted = run(target, bound, input, &parse);
        let expected = !name.starts_with("hostile-");
        assert_eq!(accepted, expected, "{target}/{name}: {}", if accepted { "accepted" } else { "refused" });
    }
    let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
    let mut dice = Dice(seed(target));
    let long = setting("SILTSTONE_FUZZ_SECONDS").map(Duration::from_secs);
    let (began, mut count) = (now(), 0);
    while long.map_or(count < MUTATIONS, |long| began.elapsed() < long) {
        run(target, bound, &mutated(&mut dice, &inputs), &parse);
        count += 1;
    }
    println!("{target}: {} corpus files, {count} mutations", corpus.len());
}

/// Writes a file of a corpus that an encoder makes, where `SILTSTONE_BLESS` is set; otherwise it must be as it is.
#[allow(dead_code, reason = "not every crate has binary formats")]
pub(crate) fn bless(target: &str, name: &str, bytes: &[u8]) {
    bless_or_compare(&format!("tests/fuzz/corpus/{target}/{name}"), bytes);
}

/// One input; whether it was accepted.
fn run(target: &str, bound: Bound, input: &[u8], parse: &impl Fn(&[u8]) -> bool) -> bool {
    let mut outcome = Ok(false);
    let memory = allocation_counter::measure(|| {
        outcome = catch_unwind(AssertUnwindSafe(|| parse(input))).map_err(drop);
    });
    let limit = bound.limit(input);
    match outcome {
        Ok(accepted) if memory.bytes_max <= limit => accepted,
        Ok(_) => fail(target, input, &format!("held {} bytes, more than {limit}", memory.bytes_max)),
        Err(()) => fail(target, input, "panicked"),
    }
}

#[expect(clippy::disallowed_methods, reason = "what failed must outlive the test")]
fn fail(target: &str, input: &[u8], what: &str) -> ! {
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let folder = root().join("target/fuzz").join(target);
    let path = folder.join(format!("{hash:016x}"));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
    panic!("{target} {what} at {} ({kept:?}): {:?}", path.display(), input.escape_ascii().to_string());
}

#[expect(clippy::disallowed_methods, reason = "a test reads its own fixtures")]
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("tests/fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|entry| entry.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let known = ["valid-", "edge-", "hostile-"].iter().any(|prefix| name.starts_with(prefix));
        assert!(known, "{target}/{name}: begins with valid-, edge- or hostile-");
        (name, std::fs::read(entry.path()).unwrap())
    };
    let corpus: Vec<_> = files.into_iter().map(read).collect();
    assert!(corpus.iter().any(|(name, _)| name.starts_with("valid-")), "{target} has a valid file");
    assert!(corpus.iter().any(|(name, _)| name.starts_with("hostile-")), "{target} has a hostile file");
    corpus
}

#[expect(clippy::disallowed_methods, reason = "how long the long form has run")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "settings of the long form")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn seed(target: &str) -> u64 {
    let own = target.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(131).wrapping_add(u64::from(byte)));
    own ^ setting("SILTSTONE_FUZZ_SEED").unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// A range within so many bytes, short ones being more likely.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let most = if self.below(4) == 0 { len } else { len.min(16) };
        let start = self.below(len + 1);
        start..(start + self.below(most + 1)).min(len)
    }
}

/// Numbers at the edges of their types and of usual limits, in the forms that texts use.
const NUMBERS: [&str; 13] = [
    "0",
    "1",
    "-1",
    "00000000000000000001",
    "10000",
    "10001",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999999999999999999999999",
];
/// Bytes that mean something to one parser or another.
const BYTES: [u8; 24] = *b"\0\n\r\t \"%&'+,-./:;<=>?\\_\x7f\xff";

fn mutated(dice: &mut Dice, corpus: &[&[u8]]) -> Vec<u8> {
    let mut input = dice.pick(corpus).to_vec();
    for _ in 0..=dice.below(4) {
        mutate(dice, &mut input, corpus);
    }
    input.truncate(MAX_INPUT);
    input
}

fn mutate(dice: &mut Dice, input: &mut Vec<u8>, corpus: &[&[u8]]) {
    let at = dice.below(input.len());
    match dice.below(10) {
        0 if !input.is_empty() => input[at] ^= 1 << dice.below(8),
        1 if !input.is_empty() => input[at] = BYTES[dice.below(BYTES.len())],
        2 => input.insert(at, BYTES[dice.below(BYTES.len())]),
        3 => input.truncate(at),
        4 => drop(input.drain(dice.range(input.len()))),
        5 => {
            let other = dice.pick(corpus);
            let piece = &other[dice.range(other.len())];
            input.splice(dice.range(input.len()), piece.iter().copied());
        }
        6 => {
            let piece = input[dice.range(input.len())].to_vec();
            let times = if dice.below(8) == 0 { 2000 } else { 2 };
            let times = times.min(MAX_INPUT / piece.len().max(1));
            input.splice(at..at, piece.repeat(times));
        }
        7 => {
            let digits = input.iter().skip(at).position(u8::is_ascii_digit).map_or(at, |found| at + found);
            let end = input.iter().skip(digits).position(|byte| !byte.is_ascii_digit());
            let end = end.map_or(input.len(), |len| digits + len);
            input.splice(digits..end, dice.pick(&NUMBERS).bytes());
        }
        8 => {
            // A number in binary, at a place where one may stand.
            let number = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 32, 1 << 20][dice.below(6)].to_le_bytes();
            let width = [1, 2, 4, 8][dice.below(4)];
            let at = at & !(width - 1);
            for (slot, byte) in input.iter_mut().skip(at).zip(&number[..width]) {
                *slot = *byte;
            }
        }
        _ => {
            for byte in &mut input[dice.range(at + 1).start.min(at)..at] {
                *byte = byte.to_ascii_uppercase();
            }
        }
    }
}
