// The end of a run: a table of latencies, the thresholds, errors by S3 code, and a count of what held. k6 passes a threshold
// whose metric got no sample; here that is a failure, because nothing was shown.
import { LENGTH, LOAD, thresholdsOf } from "./thresholds.js";

const OPS = ["put", "get", "list", "delete"];
const isEmpty = ({ values }) => values.count === 0 || (values.passes === 0 && values.fails === 0);
// k6 says nothing of a counter that was never added to; "at most" holds for it.
const isCeiling = (text) => /^count(==0|<)/.test(text);

function fixed(value) {
  return value === undefined ? "-" : value.toFixed(2);
}

function latencies(metrics) {
  const rows = [["", "requests", "p50 ms", "p95 ms", "p99 ms", "max ms"]];
  for (const op of OPS) {
    const metric = metrics[`http_req_duration{op:${op}}`];
    if (!metric || isEmpty(metric)) continue;
    const { count, med, max } = metric.values;
    rows.push([op, String(count), fixed(med), fixed(metric.values["p(95)"]), fixed(metric.values["p(99)"]), fixed(max)]);
  }
  return rows.map(([name, ...cells]) => name.padEnd(8) + cells.map((cell) => cell.padStart(11)).join(""));
}

// The verdicts: [held, text].
export function verdicts(metrics, thresholds) {
  const found = [];
  for (const name of Object.keys(thresholds)) {
    const metric = metrics[name];
    for (const text of thresholds[name]) {
      if (!metric || isEmpty(metric)) found.push([isCeiling(text), `${name}: ${text} (no samples)`]);
      else found.push([Boolean((metric.thresholds[text] || {}).ok), `${name}: ${text}`]);
    }
  }
  return found;
}

// Each named check must hold as often as all of them together.
export function checkVerdicts(checks, thresholds) {
  const rates = thresholds.checks.map((text) => Number((/^rate>=([\d.]+)$/.exec(text) || ["", "1"])[1]));
  return checks.map(({ name, passes, fails }) => {
    return [passes > 0 && passes / (passes + fails) >= Math.max(...rates), `${name} (${passes} of ${passes + fails})`];
  });
}

function errorCounts(metrics) {
  const prefix = "s3_error_";
  const counted = Object.keys(metrics).filter((name) => name.startsWith(prefix) && metrics[name].values.count > 0);
  if (counted.length === 0) return ["errors: none"];
  return counted.map((name) => `errors: ${name.slice(prefix.length)} ${metrics[name].values.count}`);
}

// Of a soak; other scenarios do not look at memory.
function memory({ server_resident_mib: resident, server_memory_growth_mib: grown }) {
  if (!resident || isEmpty(resident)) return [];
  const growth = grown && !isEmpty(grown) ? `grew by ${fixed(grown.values.max)} MiB` : "growth unknown";
  return [`memory: ${fixed(resident.values.min)} to ${fixed(resident.values.max)} MiB, ${growth}`];
}

export function render(scenario, data, thresholds) {
  const judged = [...verdicts(data.metrics, thresholds), ...checkVerdicts(data.root_group.checks, thresholds)];
  const failed = judged.filter(([held]) => !held).length;
  const lines = [
    `${scenario}: ${(data.state.testRunDurationMs / 1000).toFixed(1)} s, LENGTH=${LENGTH}, LOAD=${LOAD}`,
    ...latencies(data.metrics),
    ...memory(data.metrics),
    ...errorCounts(data.metrics),
    ...judged.map(([held, text]) => `${held ? "ok    " : "FAILED"} ${text}`),
    `${judged.length - failed} passed, ${failed} failed`,
  ];
  return lines.join("\n") + "\n";
}

// k6's handleSummary for a scenario. The objectives are read anew: k6 replaces those in the scenario's options by its own objects.
export function reporter(scenario) {
  return (data) => {
    const text = render(scenario, data, thresholdsOf(scenario));
    const files = { stdout: text };
    if (__ENV.REPORT_DIR) {
      files[`${__ENV.REPORT_DIR}/summary.txt`] = text;
      files[`${__ENV.REPORT_DIR}/summary.json`] = JSON.stringify(data.metrics, null, 1);
    }
    return files;
  };
}
