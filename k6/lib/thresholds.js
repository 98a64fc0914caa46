// Thresholds and options of a scenario, from slo.json.

// Factors for the length of every stage, and for the number of users and the rates.
function factor(name) {
  const value = Number(__ENV[name] || 1);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0`);
  return value;
}
export const LENGTH = factor("LENGTH");
export const LOAD = factor("LOAD");

export const seconds = (count) => `${Math.max(1, Math.round(count * LENGTH))}s`;
export const load = (count) => Math.max(1, Math.round(count * LOAD));

// Refuses what k6 would take and not check: a single text in place of a list (a second entry of the same name would have
// replaced the first), a latency with only one of its percentiles, a scenario without objectives.
export function validated(all, scenario) {
  const slo = all[scenario];
  if (!slo || !Array.isArray(slo.checks)) throw new Error(`slo.json has no objectives with checks for ${scenario}`);
  for (const metric of Object.keys(slo)) {
    const list = slo[metric];
    if (!Array.isArray(list) || list.length === 0) throw new Error(`slo.json: ${scenario}: ${metric} is not a list`);
    if (!metric.startsWith("http_req_duration")) continue;
    for (const percentile of ["p(95)", "p(99)"]) {
      if (!list.some((text) => text.startsWith(percentile + "<"))) {
        throw new Error(`slo.json: ${scenario}: ${metric} has no ${percentile}`);
      }
    }
  }
  return slo;
}

// A run that is made shorter or lighter owes fewer requests; everything else stays.
export function scaled(slo, by) {
  const result = {};
  for (const metric of Object.keys(slo)) {
    result[metric] = slo[metric].map((text) => {
      const least = /^count>=(\d+)$/.exec(text);
      return least ? `count>=${Math.max(1, Math.floor(Number(least[1]) * Math.min(1, by)))}` : text;
    });
  }
  return result;
}

const slos = JSON.parse(open(__ENV.SLO || import.meta.resolve("../slo.json")));

export const thresholdsOf = (scenario) => scaled(validated(slos, scenario), LENGTH * LOAD);

export function optionsOf(scenario, scenarios) {
  return {
    scenarios,
    thresholds: thresholdsOf(scenario),
    summaryTrendStats: ["count", "min", "avg", "med", "p(95)", "p(99)", "max"],
    setupTimeout: "120s",
    teardownTimeout: "600s",
    userAgent: "siltstone-k6",
  };
}
