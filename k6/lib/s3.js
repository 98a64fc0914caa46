// A client for the few S3 operations of the load tests. It measures, and says by which S3 code a request failed; whether
// what came back is right is for the caller to check.
import crypto from "k6/crypto";
import http from "k6/http";
import { Counter } from "k6/metrics";
import { encodePath, encodeQuery, sign } from "./sigv4.js";

export const requests = new Counter("s3_requests");

// A summary shows only metrics declared at the start, so each code that a load may meet has a counter.
const CODES = [
  "AccessDenied", "BadDigest", "IncompleteBody", "InsufficientStorage", "InternalError", "InvalidAccessKeyId", "NoSuchBucket", "NoSuchKey",
  "RequestTimeTooSkewed", "RequestTimeout", "ServiceUnavailable", "SignatureDoesNotMatch", "SlowDown",
  "NoAnswer", "Other",
];
const errors = {};
for (const code of CODES) errors[code] = new Counter(`s3_error_${code}`);

const endpoint = (__ENV.ENDPOINT || "").replace(/\/+$/, "");
const host = endpoint.replace(/^https?:\/\//, "");
const credentials = {
  accessKey: __ENV.AWS_ACCESS_KEY_ID,
  secretKey: __ENV.AWS_SECRET_ACCESS_KEY,
  region: __ENV.AWS_REGION || __ENV.AWS_DEFAULT_REGION || "us-east-1",
};

function asText(body) {
  if (!body) return "";
  if (typeof body === "string") return body;
  return Array.from(new Uint8Array(body), (byte) => String.fromCharCode(byte)).join("");
}

// The <Code> of an error document; NoAnswer where the connection failed, Other where there is no document (HEAD, proxies).
export function errorCode(response) {
  if (response.status === 0) return "NoAnswer";
  const found = /<Code>([^<]*)<\/Code>/.exec(asText(response.body));
  return found ? found[1] : "Other";
}

// Sends one signed request. `op` tags its metrics, so that thresholds tell operations apart.
export function request(op, method, path, { query = {}, body = null, headers = {}, binary = false } = {}) {
  if (!host || !credentials.accessKey || !credentials.secretKey) {
    throw new Error("ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set");
  }
  const payloadHash = crypto.sha256(body === null ? "" : body, "hex");
  const signed = sign({ method, host, path, query, headers, payloadHash }, credentials, new Date());
  const search = encodeQuery(query);
  const url = `${endpoint}${encodePath(path)}${search ? "?" + search : ""}`;
  const response = http.request(method, url, body, {
    headers: signed,
    responseType: binary ? "binary" : "text",
    tags: { op, name: op },
  });
  requests.add(1, { op });
  if (response.status === 0 || response.status >= 400) {
    const code = errorCode(response);
    (errors[code] || errors.Other).add(1, { op, code });
    if (!errors[code]) console.error(`${op} answered ${response.status} ${code}`);
  }
  return response;
}

// One page of ListObjectsV2 as { truncated, objects: [{ key, md5, size }] }. Keys of the load tests need no decoding.
export function parseListing(xml) {
  const field = (text, name) => (new RegExp(`<${name}>([^<]*)</${name}>`).exec(text) || ["", ""])[1];
  const entries = xml.match(/<Contents>.*?<\/Contents>/gs) || [];
  return {
    truncated: field(xml, "IsTruncated") === "true",
    objects: entries.map((entry) => ({
      key: field(entry, "Key"),
      md5: field(entry, "ETag").replace(/&quot;|&#34;|"/g, ""),
      size: Number(field(entry, "Size")),
    })),
  };
}
