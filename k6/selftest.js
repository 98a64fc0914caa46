// The library's own tests: no server is asked. A check that fails makes the run fail.
import { check } from "k6";
import crypto from "k6/crypto";
import { content, mix, pick } from "./lib/content.js";
import { growth, residentBytes } from "./lib/memory.js";
import { parseListing } from "./lib/s3.js";
import { encodePath, encodeQuery, sign } from "./lib/sigv4.js";
import { scaled, validated } from "./lib/thresholds.js";
import { checkVerdicts, verdicts } from "./lib/report.js";
import { listingIsRight } from "./lib/workload.js";

export const options = { thresholds: { checks: ["rate==1"] } };

function throws(action) {
  try {
    action();
  } catch (_) {
    return true;
  }
  return false;
}

// The worked examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
function awsExample(method, path, query, headers, body) {
  const credentials = {
    accessKey: "AKIAIOSFODNN7EXAMPLE",
    secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    region: "us-east-1",
  };
  const request = { method, host: "examplebucket.s3.amazonaws.com", path, query, headers, payloadHash: crypto.sha256(body, "hex") };
  return sign(request, credentials, new Date("2013-05-24T00:00:00Z")).Authorization.split("Signature=")[1];
}

function signatures() {
  const put = { Date: "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY" };
  check(null, {
    "signature: AWS's example of a GET with a range": () =>
      awsExample("GET", "/test.txt", {}, { Range: "bytes=0-9" }, "") ===
      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    "signature: AWS's example of a PUT": () =>
      awsExample("PUT", "/test$file.text", {}, put, "Welcome to Amazon S3.") ===
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    "signature: AWS's example of a listing": () =>
      awsExample("GET", "/", { prefix: "J", "max-keys": "2" }, {}, "") ===
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    "encoding: RFC 3986": () => encodePath("/a b/(ü)*~") === "/a%20b/%28%C3%BC%29%2A~" && encodeQuery({ b: "&", a: "" }) === "a=&b=%26",
  });
}

function bodies() {
  const hash = (key, size) => crypto.md5(content(key, size), "hex");
  const body = new Uint8Array(content("k", 40000));
  check(null, {
    "content: the same for the same key": () => hash("a", 5000) === hash("a", 5000),
    "content: another for another key": () => hash("a", 5000) !== hash("b", 5000),
    "content: as long as asked": () => [0, 1, 16384, 40000].every((size) => content("k", size).byteLength === size),
    "content: no block is like another": () => body[0] === 107 && body[16384] === 49 && body[32768] === 50,
    "sizes: by their shares": () => pick([[30, "a"], [70, "b"]], 0.29) === "a" && pick([[30, "a"], [70, "b"]], 0.31) === "b",
    "sizes: an unknown mix is refused": () => throws(() => mix("huge")),
  });
}

function listings() {
  const entry = (key) => `<Contents><Key>${key}</Key><ETag>&quot;m&quot;</ETag><Size>7</Size></Contents>`;
  const page = (keys) => parseListing(`<R><IsTruncated>false</IsTruncated>\n${keys.map(entry).join("\n")}</R>`);
  const object = (key) => ({ key, md5: "m", size: 7 });
  const expected = [object("a"), object("b")];
  check(null, {
    "listing: read": () => JSON.stringify(page(["a"]).objects) === JSON.stringify([object("a")]),
    "listing: right": () => listingIsRight(page(["a", "b"]), expected, new Set()),
    "listing: a missing key is seen": () => !listingIsRight(page(["a"]), expected, new Set()),
    "listing: a deleted key is seen": () => !listingIsRight(page(["a", "b", "c"]), expected, new Set()),
    "listing: a key of unknown outcome may be there": () => listingIsRight(page(["a", "b", "c"]), expected, new Set(["c"])),
    "listing: another size is seen": () => !listingIsRight(page(["a"]), [{ key: "a", md5: "m", size: 8 }], new Set()),
    "listing: another hash is seen": () => !listingIsRight(page(["a"]), [{ key: "a", md5: "n", size: 7 }], new Set()),
  });
}

function objectives() {
  const fine = { checks: ["rate>=1"], "http_req_duration{op:put}": ["p(95)<10", "p(99)<50"] };
  const refused = (change) => throws(() => validated({ s: Object.assign({}, fine, change) }, "s"));
  const held = (values, ok) =>
    verdicts({ m: { values, thresholds: { "p(95)<10": { ok } } } }, { m: ["p(95)<10"] })[0][0];
  check(null, {
    "objectives: fine ones are taken": () => validated({ s: fine }, "s") === fine,
    "objectives: a text in place of a list is refused": () => refused({ "http_req_duration{op:put}": "p(95)<10" }),
    "objectives: p95 without p99 is refused": () => refused({ "http_req_duration{op:put}": ["p(95)<10"] }),
    "objectives: p99 without p95 is refused": () => refused({ "http_req_duration{op:put}": ["p(99)<10"] }),
    "objectives: an unknown scenario is refused": () => throws(() => validated({ s: fine }, "t")),
    "objectives: only counts are scaled": () =>
      JSON.stringify(scaled({ a: ["count>=100"], b: ["p(95)<10"] }, 0.1)) === JSON.stringify({ a: ["count>=10"], b: ["p(95)<10"] }),
    "verdict: k6's own": () => held({ count: 3 }, true) && !held({ count: 3 }, false),
    "verdict: no sample has not held": () => !held({ count: 0 }, true) && !verdicts({}, { m: ["p(95)<10"] })[0][0],
    "verdict: nothing was dropped": () => verdicts({}, { dropped_iterations: ["count==0"] })[0][0],
    "verdict: each check by the rate of all": () =>
      checkVerdicts([{ name: "a", passes: 94, fails: 6 }, { name: "b", passes: 95, fails: 5 }], { checks: ["rate>=0.95"] })
        .map(([ok]) => ok).join() === "false,true",
  });
}

function memory() {
  const run = (grow) => Array.from({ length: 50 }, (_, i) => ({ at: i / 50, bytes: 1000 + grow * i }));
  check(null, {
    "memory: read from metrics": () => residentBytes("a 1\nprocess_resident_memory_bytes 5242880\nb 2\n") === 5242880,
    "memory: absent": () => residentBytes("a 1\n") === null,
    "memory: level": () => growth(run(0)) === 0,
    "memory: growth from the second fifth to the last": () => growth(run(10)) === 300,
    "memory: what fills at the start is no growth": () => growth(run(0).map((s) => (s.at < 0.2 ? { at: s.at, bytes: 1 } : s))) === 0,
    "memory: too few samples": () => growth([{ at: 0.3, bytes: 1 }]) === null,
  });
}

export default function () {
  [signatures, bodies, listings, objectives, memory].forEach((group) => group());
}

export function handleSummary(data) {
  const { checks } = data.root_group;
  const failed = checks.filter(({ fails }) => fails > 0);
  const lines = failed.map(({ name }) => `FAILED ${name}`);
  lines.push(`selftest: ${checks.length - failed.length} passed, ${failed.length} failed`);
  return { stdout: lines.join("\n") + "\n" };
}
