// Seconds long: does everything work, under a light load?
import { cleanUp, mixed, pause, prepare } from "../lib/workload.js";
import { load, optionsOf, seconds } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

export const options = optionsOf("quick", {
  users: { executor: "constant-vus", vus: load(5), duration: seconds(12) },
});

export const setup = () => prepare(20);
export const teardown = cleanUp;
export const handleSummary = reporter("quick");

export default function (state) {
  mixed(state);
  pause();
}
