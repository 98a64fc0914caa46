//! MD5 (RFC 1321) of several streams at once.
//!
//! A block of MD5 depends on the one before, so one stream runs at the speed of 64 dependent steps, however wide the
//! processor is. Blocks of other streams do not depend on it: up to [`LANES`] of them go through the same steps side by
//! side, as elements of one array, which the compiler turns into vector instructions. Four streams take little longer
//! than one. More lanes than four spill the registers that every x86-64 has, and are slower again.
//!
//! ETags need MD5 for compatibility; nothing here rests on its strength.

use std::array::from_fn;

/// Streams that are hashed at once.
pub(in crate::s3) const LANES: usize = 4;

const BLOCK: usize = 64;
type Block = [u8; BLOCK];

/// The MD5 of the bytes so far.
#[derive(Clone)]
pub(super) struct Md5 {
    words: [u32; 4],
    /// The beginning of a block that is not complete: `len % 64` bytes of it.
    tail: Block,
    /// Bytes so far. MD5 counts their bits modulo 2^64.
    len: u64,
}

impl Md5 {
    pub(super) fn new() -> Self {
        Self { words: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476], tail: [0; BLOCK], len: 0 }
    }

    /// Takes more bytes of this stream alone.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        update_together(vec![Feed::new(self, std::iter::once(bytes))]);
    }

    /// Bytes of the tail that count.
    fn filled(&self) -> usize {
        usize::from(self.len.to_le_bytes()[0]) % BLOCK
    }

    /// The digest (RFC 1321, 3.1 to 3.5).
    pub(super) fn finish(mut self) -> [u8; 16] {
        let bits = self.len.wrapping_mul(8).to_le_bytes();
        let filled = self.filled();
        // 0x80, then zeros up to eight bytes before a block's end.
        let zeros = (BLOCK + BLOCK - 1 - filled - bits.len()) % BLOCK;
        let padding = [&[0x80][..], &[0; BLOCK][..zeros], &bits].concat();
        self.update(&padding);
        let mut digest = [0; 16];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

/// More bytes of one stream, in pieces as they came.
pub(super) struct Feed<'a, P> {
    md5: &'a mut Md5,
    pieces: P,
    /// What is left of the piece at hand.
    piece: &'a [u8],
    run: Run<'a>,
}

/// Whole blocks that lie one after the other.
enum Run<'a> {
    /// The stream's tail, now complete.
    Tail,
    Blocks(&'a [Block]),
}

impl<'a, P: Iterator<Item = &'a [u8]>> Feed<'a, P> {
    pub(super) fn new(md5: &'a mut Md5, pieces: P) -> Self {
        Self { md5, pieces, piece: &[], run: Run::Blocks(&[]) }
    }

    fn blocks(&self) -> &[Block] {
        match self.run {
            Run::Tail => std::slice::from_ref(&self.md5.tail),
            Run::Blocks(blocks) => blocks,
        }
    }

    /// Goes past the first blocks of the run.
    fn advance(&mut self, count: usize) {
        self.run = match self.run {
            Run::Tail => Run::Blocks(&[]),
            Run::Blocks(blocks) => Run::Blocks(&blocks[count..]),
        };
    }

    /// Finds whole blocks, if the feed has any left; what is no whole block stays in the stream's tail.
    fn has_blocks(&mut self) -> bool {
        while self.blocks().is_empty() {
            if self.piece.is_empty() {
                let Some(piece) = self.pieces.next() else { return false };
                self.piece = piece;
            }
            let filled = self.md5.filled();
            if filled == 0 && self.piece.len() >= BLOCK {
                let (blocks, rest) = self.piece.as_chunks();
                self.md5.len = self.md5.len.wrapping_add((self.piece.len() - rest.len()) as u64);
                (self.run, self.piece) = (Run::Blocks(blocks), rest);
            } else {
                let (taken, rest) = self.piece.split_at(self.piece.len().min(BLOCK - filled));
                self.md5.tail[filled..filled + taken.len()].copy_from_slice(taken);
                self.md5.len = self.md5.len.wrapping_add(taken.len() as u64);
                self.piece = rest;
                if filled + taken.len() == BLOCK {
                    self.run = Run::Tail;
                }
            }
        }
        true
    }
}

/// Hashes feeds of different streams side by side, to their ends.
pub(super) fn update_together<'a, P: Iterator<Item = &'a [u8]>>(mut feeds: Vec<Feed<'a, P>>) {
    loop {
        feeds.retain_mut(Feed::has_blocks);
        match feeds.as_mut_slice() {
            [] => return,
            [a] => run::<_, 1, 1>([a]),
            // A third lane for nothing: three make vectors, two do not, which is slower.
            [a, b] => run::<_, 2, 3>([a, b]),
            [a, b, c] => run::<_, 3, 3>([a, b, c]),
            [a, b, c, d, ..] => run::<_, 4, 4>([a, b, c, d]),
        }
    }
}

/// Hashes as many blocks as each of `FEEDS` feeds has, in `N` lanes, at least as many: the last feed is in all that are left.
fn run<'a, P: Iterator<Item = &'a [u8]>, const FEEDS: usize, const N: usize>(
    mut feeds: [&mut Feed<'a, P>; FEEDS],
) {
    let feed_of = |lane: usize| lane.min(FEEDS - 1);
    let mut words: [[u32; N]; 4] = from_fn(|word| from_fn(|lane| feeds[feed_of(lane)].md5.words[word]));
    let runs: [&[Block]; N] = from_fn(|lane| feeds[feed_of(lane)].blocks());
    let count = runs.iter().map(|run| run.len()).min().unwrap_or_default();
    for at in 0..count {
        compress(&mut words, runs.map(|run| &run[at]));
    }
    for (lane, feed) in feeds.iter_mut().enumerate() {
        feed.md5.words = words.map(|word| word[lane]);
        feed.advance(count);
    }
}

/// RFC 1321, 3.4: `floor(2^32 * abs(sin(i + 1)))`.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];
/// How far each step of a round rotates; they repeat every four steps.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// One step of every lane, for [`compress`] alone. `mix` adds the round's function of `b`, `c` and `d` to its first argument.
#[expect(
    clippy::inline_always,
    reason = "a call would put the state into memory, at each of 64 steps a block"
)]
#[inline(always)]
fn step<const N: usize>(
    state: &mut [[u32; N]; 4],
    message: &[u32; N],
    (sine, turn): (u32, u32),
    mix: impl Fn(u32, u32, u32, u32) -> u32,
) {
    let [a, b, c, d] = *state;
    let next = from_fn(|lane| {
        let sum = a[lane].wrapping_add(sine).wrapping_add(message[lane]);
        let turned = mix(sum, b[lane], c[lane], d[lane]).rotate_left(turn);
        turned.wrapping_add(b[lane])
    });
    *state = [d, next, b, c];
}

/// Sixteen steps. `order` says which word of the message a step takes. Written out, so that the state stays in registers.
macro_rules! round {
    ($state:ident, $message:ident, $round:literal, $order:expr, $mix:expr) => {
        round!(@ $state, $message, $round, $order, $mix, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $state:ident, $message:ident, $round:literal, $order:expr, $mix:expr, $($step:literal)*) => {$({
        let constants = (SINES[$round * 16 + $step], TURNS[$round][$step % 4]);
        step(&mut $state, &$message[$order($step) % 16], constants, $mix);
    })*};
}

/// One block of every lane (RFC 1321, 3.4).
#[inline(never)]
fn compress<const N: usize>(words: &mut [[u32; N]; 4], blocks: [&Block; N]) {
    let message: [[u32; N]; 16] = from_fn(|word| {
        from_fn(|lane| {
            let (bytes, _) = blocks[lane].as_chunks();
            u32::from_le_bytes(bytes[word])
        })
    });
    let mut state = *words;
    round!(state, message, 0, |i: usize| i, |x: u32, b, c, d| x.wrapping_add(d ^ (b & (c ^ d))));
    // The two halves have no bit in common, so adding them is the same as `or`; what does not wait for `b` comes first.
    round!(state, message, 1, |i: usize| 5 * i + 1, |x: u32, b: u32, c: u32, d: u32| x
        .wrapping_add(c & !d)
        .wrapping_add(b & d));
    round!(state, message, 2, |i: usize| 3 * i + 5, |x: u32, b, c, d| x.wrapping_add(b ^ (c ^ d)));
    round!(state, message, 3, |i: usize| 7 * i, |x: u32, b: u32, c: u32, d: u32| x
        .wrapping_add(c ^ (b | !d)));
    for (word, after) in words.iter_mut().zip(state) {
        *word = from_fn(|lane| word[lane].wrapping_add(after[lane]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Digest as _;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn expected(pieces: &[Vec<u8>]) -> [u8; 16] {
        md5::Md5::digest(pieces.concat()).into()
    }

    #[test]
    fn the_digests_of_the_standard_come_out() {
        // RFC 1321, A.5.
        for (text, digest) in [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128),
            ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
            ("abcdefghijklmnopqrstuvwxyz", 0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b),
        ] {
            let mut md5 = Md5::new();
            md5.update(text.as_bytes());
            assert_eq!(u128::from_be_bytes(md5.finish()), digest, "{text}");
        }
    }

    #[test]
    fn every_length_up_to_three_blocks_ends_well() {
        let bytes: Vec<u8> = (0..192).collect();
        for len in 0..=bytes.len() {
            let mut md5 = Md5::new();
            md5.update(&bytes[..len]);
            assert_eq!(md5.finish(), expected(&[bytes[..len].to_vec()]), "{len} bytes");
        }
    }

    proptest! {
        /// Streams of any number and length, each in pieces of any length, in several turns: what the library says of each.
        #[test]
        fn streams_side_by_side_have_their_own_digests(
            streams in vec(vec(vec(vec(any::<u8>(), 0..300), 0..4), 3), 0..10),
        ) {
            let mut digests = vec![Md5::new(); streams.len()];
            for turn in 0..3 {
                let feeds = digests.iter_mut().zip(&streams);
                let feeds = feeds.map(|(md5, turns)| Feed::new(md5, turns[turn].iter().map(Vec::as_slice)));
                update_together(feeds.collect());
            }
            for (md5, turns) in digests.into_iter().zip(&streams) {
                prop_assert_eq!(md5.finish(), expected(&turns.concat()));
            }
        }
    }
}
