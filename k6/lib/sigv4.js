// Signature Version 4 of S3 requests, with a signed payload.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
import crypto from "k6/crypto";

const ALGORITHM = "AWS4-HMAC-SHA256";

// RFC 3986: encodeURIComponent leaves five characters that SigV4 wants encoded.
export function encode(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
}

export function encodePath(path) {
  return path.split("/").map(encode).join("/");
}

// `query` maps names to values, both unencoded; the result is sorted as the canonical request wants it.
export function encodeQuery(query) {
  return Object.keys(query)
    .map((name) => `${encode(name)}=${encode(query[name])}`)
    .sort()
    .join("&");
}

// 2013-05-24T00:00:00.000Z as 20130524T000000Z.
export function amzDate(date) {
  return date.toISOString().replace(/[-:]|\.\d{3}/g, "");
}

// A day's key serves a whole run, so each user derives it once, not once a request.
let derived = { name: "", key: null };

function signingKey(credentials, day) {
  const name = `${credentials.accessKey}/${day}/${credentials.region}`;
  if (derived.name !== name) {
    const step = (key, text) => crypto.hmac("sha256", key, text, "binary");
    const start = step(`AWS4${credentials.secretKey}`, day);
    derived = { name, key: ["s3", "aws4_request"].reduce(step, step(start, credentials.region)) };
  }
  return derived.key;
}

// The headers to send: those given, with x-amz-date, x-amz-content-sha256 and Authorization. All of them and the host are
// signed. `path` and `query` are unencoded, `payloadHash` is the body's SHA-256 in hex.
export function sign(request, credentials, date) {
  const time = amzDate(date);
  const day = time.slice(0, 8);
  const headers = Object.assign({}, request.headers, {
    "x-amz-content-sha256": request.payloadHash,
    "x-amz-date": time,
  });
  const signed = { host: request.host };
  for (const name of Object.keys(headers)) signed[name.toLowerCase()] = String(headers[name]).trim();
  const names = Object.keys(signed).sort();
  const canonical = [
    request.method,
    encodePath(request.path),
    encodeQuery(request.query || {}),
    ...names.map((name) => `${name}:${signed[name]}`),
    "",
    names.join(";"),
    request.payloadHash,
  ].join("\n");
  const scope = `${day}/${credentials.region}/s3/aws4_request`;
  const text = [ALGORITHM, time, scope, crypto.sha256(canonical, "hex")].join("\n");
  const signature = crypto.hmac("sha256", signingKey(credentials, day), text, "hex");
  headers.Authorization =
    `${ALGORITHM} Credential=${credentials.accessKey}/${scope},SignedHeaders=${names.join(";")},Signature=${signature}`;
  return headers;
}
