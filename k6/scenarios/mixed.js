// Reads, writes, listings and deletions by 25 users, a spike to 100, and back.
import { cleanUp, mixed, pause, prepare } from "../lib/workload.js";
import { load, optionsOf, seconds } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

export const options = optionsOf("mixed", {
  users: {
    executor: "ramping-vus",
    startVUs: load(25),
    stages: [
      { duration: seconds(30), target: load(25) },
      { duration: seconds(15), target: load(100) },
      { duration: seconds(45), target: load(100) },
      { duration: seconds(15), target: load(25) },
      { duration: seconds(30), target: load(25) },
    ],
  },
});

export const setup = () => prepare(200);
export const teardown = cleanUp;
export const handleSummary = reporter("mixed");

export default function (state) {
  mixed(state);
  pause();
}
