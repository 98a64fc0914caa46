// The journey's calls made with the AWS SDK for JavaScript v3: one call a line, one answer a line.
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import * as sdk from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

const s3 = new sdk.S3Client({ endpoint: process.env.ENDPOINT, forcePathStyle: true });

const at = ({ bucket, key }) => ({ Bucket: bucket, Key: key });
const send = (command) => s3.send(command);

const calls = {
  create_bucket: ({ bucket }) => send(new sdk.CreateBucketCommand({ Bucket: bucket })),
  put: async (call) =>
    send(new sdk.PutObjectCommand({ ...at(call), Body: await readFile(call.file), Metadata: call.metadata })),
  upload: (call) =>
    new Upload({ client: s3, partSize: 5 << 20, params: { ...at(call), Body: createReadStream(call.file) } }).done(),
  get: async (call) => {
    const range = call.first === undefined ? undefined : `bytes=${call.first}-${call.last}`;
    const answer = await send(new sdk.GetObjectCommand({ ...at(call), VersionId: call.version, Range: range }));
    await pipeline(answer.Body, createWriteStream(call.file));
  },
  metadata: async (call) => (await send(new sdk.HeadObjectCommand(at(call)))).Metadata,
  list: async ({ bucket, prefix, delimiter }) => {
    const keys = [];
    const prefixes = [];
    const request = { Bucket: bucket, Prefix: prefix, Delimiter: delimiter };
    for await (const page of sdk.paginateListObjectsV2({ client: s3 }, request)) {
      keys.push(...(page.Contents ?? []).map((entry) => entry.Key));
      prefixes.push(...(page.CommonPrefixes ?? []).map((entry) => entry.Prefix));
    }
    return { keys, prefixes };
  },
  copy: ({ bucket, source, key }) => {
    const from = encodeURIComponent(`${bucket}/${source}`);
    return send(new sdk.CopyObjectCommand({ Bucket: bucket, Key: key, CopySource: from }));
  },
  put_tags: (call) => {
    const pairs = Object.entries(call.tags).map(([Key, Value]) => ({ Key, Value }));
    return send(new sdk.PutObjectTaggingCommand({ ...at(call), Tagging: { TagSet: pairs } }));
  },
  tags: async (call) => {
    const answer = await send(new sdk.GetObjectTaggingCommand(at(call)));
    return Object.fromEntries(answer.TagSet.map(({ Key, Value }) => [Key, Value]));
  },
  enable_versioning: ({ bucket }) =>
    send(
      new sdk.PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: 'Enabled' } }),
    ),
  versions: async ({ bucket, key }) => {
    const answer = await send(new sdk.ListObjectVersionsCommand({ Bucket: bucket, Prefix: key }));
    const every = [
      ...(answer.Versions ?? []).map((entry) => ({ ...entry, deleted: false })),
      ...(answer.DeleteMarkers ?? []).map((entry) => ({ ...entry, deleted: true })),
    ];
    every.sort((one, other) => other.IsLatest - one.IsLatest || other.LastModified - one.LastModified);
    return every.map((entry) => ({ version: entry.VersionId, latest: entry.IsLatest, deleted: entry.deleted }));
  },
  presign: (call) => getSignedUrl(s3, new sdk.GetObjectCommand(at(call)), { expiresIn: 60 }),
  delete: (call) => send(new sdk.DeleteObjectCommand(at(call))),
  delete_many: async ({ bucket, keys }) => {
    const objects = keys.map((key) => ({ Key: key }));
    const answer = await send(new sdk.DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: objects } }));
    if (answer.Errors?.length) throw new Error(JSON.stringify(answer.Errors));
  },
};
const answering = new Set(['metadata', 'list', 'tags', 'versions', 'presign']);

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  let answer;
  try {
    const value = await calls[call.op](call);
    answer = { ok: answering.has(call.op) ? value : null };
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
