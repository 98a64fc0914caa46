// Downloads by 100 users of objects that were there before.
import { cleanUp, get, pause, prepare } from "../lib/workload.js";
import { load, optionsOf, seconds } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

export const options = optionsOf("download", {
  users: { executor: "constant-vus", vus: load(100), duration: seconds(90) },
});

export const setup = () => prepare(200);
export const teardown = cleanUp;
export const handleSummary = reporter("download");

export default function (state) {
  get(state);
  pause();
}
