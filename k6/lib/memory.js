// Resident memory from the server's metrics (docs/metrics.md), and how much it grew in a soak.

export function residentBytes(metrics) {
  const found = /^process_resident_memory_bytes\s+([\d.eE+]+)\s*$/m.exec(metrics);
  return found ? Number(found[1]) : null;
}

function median(numbers) {
  const sorted = numbers.slice().sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// Bytes from the second fifth of a run, by when caches and buffers are filled, to its last fifth. Medians, because a
// single sample may fall on a compaction. `at` goes from 0 to 1. null where a fifth has no sample.
export function growth(samples) {
  const between = (from, to) => samples.filter(({ at }) => at >= from && at < to).map(({ bytes }) => bytes);
  const early = between(0.2, 0.4);
  const late = between(0.8, 1.01);
  return early.length && late.length ? median(late) - median(early) : null;
}
