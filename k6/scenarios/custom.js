// The mixed load with RATE arrivals a second, or with VUS users who pause, for DURATION (such as 5m).
import { cleanUp, mixed, pause, prepare } from "../lib/workload.js";
import { optionsOf } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

const rate = Number(__ENV.RATE || 0);
const vus = Number(__ENV.VUS || 20);
const duration = __ENV.DURATION || "60s";

export const options = optionsOf("custom", {
  custom: rate
    ? { executor: "constant-arrival-rate", rate, timeUnit: "1s", duration, preAllocatedVUs: vus, maxVUs: Math.max(vus, rate) }
    : { executor: "constant-vus", vus, duration },
});

export const setup = () => prepare(100);
export const teardown = cleanUp;
export const handleSummary = reporter("custom");

export default function (state) {
  mixed(state);
  if (!rate) pause();
}
