// The same spike as arrivals: 150, 600 and again 150 requests a second, however long answers take. At full length 115,500 requests.
import { cleanUp, mixed, prepare } from "../lib/workload.js";
import { load, optionsOf, seconds } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

export const options = optionsOf("mixed-rate", {
  arrivals: {
    executor: "ramping-arrival-rate",
    startRate: load(150),
    timeUnit: "1s",
    preAllocatedVUs: load(100),
    maxVUs: load(600),
    stages: [
      { duration: seconds(30), target: load(150) },
      { duration: seconds(30), target: load(600) },
      { duration: seconds(140), target: load(600) },
      { duration: seconds(30), target: load(150) },
      { duration: seconds(30), target: load(150) },
    ],
  },
});

export const setup = () => prepare(200);
export const teardown = cleanUp;
export const handleSummary = reporter("mixed-rate");

export default function (state) {
  mixed(state);
}
