// Uploads by 1 to 50 users, who pause between two as people and programs do.
import { cleanUp, pause, prepare, put } from "../lib/workload.js";
import { load, optionsOf, seconds } from "../lib/thresholds.js";
import { reporter } from "../lib/report.js";

export const options = optionsOf("upload", {
  users: {
    executor: "ramping-vus",
    startVUs: 1,
    stages: [
      { duration: seconds(60), target: load(50) },
      { duration: seconds(60), target: load(50) },
    ],
  },
});

export const setup = () => prepare(0);
export const teardown = cleanUp;
export const handleSummary = reporter("upload");

export default function (state) {
  put(state);
  pause();
}
