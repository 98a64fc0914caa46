// Ever more users without pauses: whether the server stays correct, and says so when it is too much.
import { cleanUp, mixed, prepare } from "../lib/workload.js";
import { load, optionsOf, seconds } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

export const options = optionsOf("stress", {
  users: {
    executor: "ramping-vus",
    startVUs: load(25),
    stages: [
      { duration: seconds(30), target: load(100) },
      { duration: seconds(60), target: load(200) },
      { duration: seconds(60), target: load(400) },
      { duration: seconds(15), target: 0 },
    ],
  },
});

export const setup = () => prepare(200);
export const teardown = cleanUp;
export const handleSummary = reporter("stress");

export default function (state) {
  mixed(state);
}
