// What a user does. Each user writes only below a prefix of its own and remembers what must be there, so every answer can
// be checked in full: content by hash, listings entry by entry.
import crypto from "k6/crypto";
import exec from "k6/execution";
import { check, sleep } from "k6";
import { Rate } from "k6/metrics";
import { content, mix, pick } from "./content.js";
import { parseListing, request } from "./s3.js";

// Apart from `checks`, which may tolerate refusals under load: a wrong byte in an answer that claims success never is.
const contentWrong = new Rate("content_wrong");

const PAGE = 50;
const SIZES = mix(__ENV.SIZES || "web");
// Objects of this user that exist, in the order of their keys; and keys whose last change was not acknowledged.
const live = [];
const unknown = new Set();
let serial = 0;

function verify(op, response, status, answers, right) {
  const answered = response.status === status;
  check(response, { [answers]: () => answered }, { op });
  if (!answered) return false;
  const correct = right();
  check(response, { [`${op}: content is right`]: () => correct }, { op });
  contentWrong.add(!correct, { op });
  return correct;
}

const etag = (response) => (response.headers.Etag || response.headers.ETag || "").replace(/"/g, "");

// The numbers are padded, so that keys sort in the order in which they were made.
function nextKey(prefix) {
  serial += 1;
  return `${prefix}/${String(serial).padStart(9, "0")}`;
}

const ownPrefix = () => `user${exec.vu.idInTest}`;

function store(op, bucket, key, size) {
  const body = content(key, size);
  const md5 = crypto.md5(body, "hex");
  const response = request(op, "PUT", `/${bucket}/${key}`, { body });
  const stored = verify(op, response, 200, `${op}: answers 200`, () => etag(response) === md5);
  return { stored, object: { key, size, md5 } };
}

export function put({ bucket }) {
  const { stored, object } = store("put", bucket, nextKey(ownPrefix()), pick(SIZES, Math.random()));
  if (stored) live.push(object);
  else unknown.add(object.key);
}

// Reads one of the objects that were there from the start, or one of the user's own.
export function get({ bucket, seeds }) {
  const from = live.length > 0 && Math.random() < 0.5 ? live : seeds;
  const { key, size, md5 } = from[Math.floor(Math.random() * from.length)];
  const response = request("get", "GET", `/${bucket}/${key}`, { binary: true });
  verify("get", response, 200, "get: answers 200", () => {
    return etag(response) === md5 && response.body.byteLength === size && crypto.md5(response.body, "hex") === md5;
  });
}

// The page must hold this user's first objects, each with its size and hash, and not one more. Keys of unknown outcome may
// be there or not.
export function listingIsRight({ truncated, objects }, expected, ignored) {
  const known = objects.filter(({ key }) => !ignored.has(key));
  if (truncated ? objects.length !== PAGE : known.length !== expected.length) return false;
  return known.every(({ key, size, md5 }, i) => {
    const wanted = expected[i];
    return wanted !== undefined && wanted.key === key && wanted.size === size && wanted.md5 === md5;
  });
}

export function list({ bucket }) {
  const query = { "list-type": "2", prefix: `${ownPrefix()}/`, "max-keys": String(PAGE) };
  const response = request("list", "GET", `/${bucket}`, { query });
  verify("list", response, 200, "list: answers 200", () => listingIsRight(parseListing(response.body), live, unknown));
}

// Deletes one of the user's own objects; a later listing shows whether it is gone. A user that has none stores one.
export function remove(state) {
  if (live.length === 0) return put(state);
  const [object] = live.splice(Math.floor(Math.random() * live.length), 1);
  const response = request("delete", "DELETE", `/${state.bucket}/${object.key}`);
  if (!verify("delete", response, 204, "delete: answers 204", () => !response.body)) unknown.add(object.key);
}

// Shares in percent. The second keeps the number of objects level, so that a growth of memory is none of their number.
const MIXED = [[50, get], [30, put], [15, list], [5, remove]];
const LEVEL = [[50, get], [20, put], [10, list], [20, remove]];

export const mixed = (state) => pick(MIXED, Math.random())(state);
export const level = (state) => pick(LEVEL, Math.random())(state);

// The time that a user takes between two requests.
export const pause = () => sleep(0.1 + Math.random() * 0.2);

function must(response, status, what) {
  if (response.status !== status) throw new Error(`${what} answered ${response.status}: ${response.body}`);
}

// A bucket of this run's own, with objects to read.
export function prepare(count) {
  const bucket = `perf-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e9).toString(36)}`;
  must(request("setup", "PUT", `/${bucket}`), 200, "CreateBucket");
  const seeds = [];
  for (let i = 0; i < count; i += 1) {
    const { stored, object } = store("setup", bucket, nextKey("seed"), pick(SIZES, (i + 0.5) / count));
    if (!stored) throw new Error("an object to read could not be stored");
    seeds.push(object);
  }
  return { bucket, seeds };
}

// Leaves an existing server as it was; the data of a server of the run's own are removed with it.
export function cleanUp({ bucket }) {
  if (__ENV.OWN_SERVER) return;
  for (;;) {
    const page = request("setup", "GET", `/${bucket}`, { query: { "list-type": "2" } });
    must(page, 200, "ListObjectsV2");
    const { objects } = parseListing(page.body);
    if (objects.length === 0) break;
    const keys = objects.map(({ key }) => `<Object><Key>${key}</Key></Object>`).join("");
    const body = `<Delete><Quiet>true</Quiet>${keys}</Delete>`;
    const headers = { "Content-MD5": crypto.md5(body, "base64") };
    must(request("setup", "POST", `/${bucket}`, { query: { delete: "" }, body, headers }), 200, "DeleteObjects");
  }
  must(request("setup", "DELETE", `/${bucket}`), 204, "DeleteBucket");
}
