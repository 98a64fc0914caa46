// What is stored: sizes in realistic shares, and bytes that no other key has.
import crypto from "k6/crypto";

const KIB = 1024;
const BLOCK = 16 * KIB;

// Each a list of [share, bytes]. "web": many small objects, a few large ones that carry most of the bytes, on both sides of
// the server's inline threshold (64 KiB); 73 KiB in the mean. "small": what lies in the log itself. "large": backups.
export const MIXES = {
  web: [[30, KIB], [30, 8 * KIB], [20, 32 * KIB], [12, 128 * KIB], [6, 512 * KIB], [2, 1024 * KIB]],
  small: [[40, KIB], [40, 4 * KIB], [20, 16 * KIB]],
  large: [[60, 1024 * KIB], [30, 4096 * KIB], [10, 16384 * KIB]],
};

// Picks from a list of [share, value]; `random` is from 0 up to, not including, 1.
export function pick(shares, random) {
  let left = random * shares.reduce((sum, [share]) => sum + share, 0);
  for (const [share, value] of shares) {
    left -= share;
    if (left < 0) return value;
  }
  return shares[shares.length - 1][1];
}

export function mix(name) {
  if (!MIXES[name]) throw new Error(`SIZES=${name} is none of ${Object.keys(MIXES).join(", ")}`);
  return MIXES[name];
}

// A chain of hashes: bytes that do not compress, the same in every user, made in milliseconds.
const noise = (() => {
  const block = new Uint8Array(BLOCK);
  let link = crypto.sha256("siltstone", "binary");
  for (let at = 0; at < BLOCK; at += 32) {
    block.set(new Uint8Array(link), at);
    link = crypto.sha256(link, "binary");
  }
  return block;
})();

// `size` bytes for this key. Each block of noise begins with its number, the first with the key: content of another key,
// a block that is missing, repeated or elsewhere gives another hash.
export function content(key, size) {
  const body = new Uint8Array(size);
  for (let at = 0, number = 0; at < size; at += BLOCK, number += 1) {
    body.set(noise.subarray(0, Math.min(BLOCK, size - at)), at);
    const stamp = number === 0 ? key : `${number};`;
    for (let i = 0; i < stamp.length && at + i < size; i += 1) body[at + i] = stamp.charCodeAt(i);
  }
  return body.buffer;
}
