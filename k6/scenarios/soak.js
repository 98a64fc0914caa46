// A level load for SOAK minutes, beside it a look at the server's resident memory. The number of objects stays level, so
// memory that still grows is lost or hoarded.
import http from "k6/http";
import { check, sleep } from "k6";
import { Trend } from "k6/metrics";
import { cleanUp, level, prepare } from "../lib/workload.js";
import { load, optionsOf } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";
import { growth, residentBytes } from "../lib/memory.js";

const MIB = 1024 * 1024;
const minutes = Number(__ENV.SOAK || 30);
if (!(minutes > 0)) throw new Error("SOAK must be a number of minutes above 0");
const length = minutes * 60;
// Sixty samples, or one a second in a soak of less than a minute's worth of them.
const interval = Math.max(1, length / 60);

const resident = new Trend("server_resident_mib");
const grown = new Trend("server_memory_growth_mib");
const samples = [];

export const options = optionsOf("soak", {
  arrivals: {
    executor: "constant-arrival-rate",
    rate: load(150),
    timeUnit: "1s",
    duration: `${length}s`,
    preAllocatedVUs: load(50),
    maxVUs: load(300),
  },
  // One user, so that all samples come together in its variables.
  memory: { executor: "per-vu-iterations", vus: 1, iterations: 1, exec: "watch", maxDuration: `${length + 60}s` },
});

export const setup = () => prepare(200);
export const teardown = cleanUp;
export const handleSummary = reporter("soak");

export default function (state) {
  level(state);
}

export function watch() {
  const began = Date.now();
  const end = began + length * 1000;
  while (Date.now() < end) {
    const answer = http.get(`${__ENV.METRICS_ENDPOINT}/metrics`, { tags: { op: "metrics", name: "metrics" } });
    const bytes = answer.status === 200 ? residentBytes(answer.body) : null;
    check(bytes, { "metrics: tell resident memory": (found) => found !== null });
    if (bytes !== null) {
      resident.add(bytes / MIB);
      samples.push({ at: (Date.now() - began) / (length * 1000), bytes });
    }
    sleep(interval);
  }
  const bytes = growth(samples);
  if (bytes !== null) grown.add(bytes / MIB);
}
