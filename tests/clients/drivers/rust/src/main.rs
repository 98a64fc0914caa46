//! The journey's calls made with the AWS SDK for Rust: one call a line, one answer a line.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, Tag, Tagging,
    VersioningConfiguration,
};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::time::Duration;

const PART_BYTES: usize = 8 << 20;

type Outcome = Result<Value, Box<dyn Error>>;

struct Call(Value);

impl Call {
    fn text(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or_default().to_owned()
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.0[name].as_str().map(str::to_owned)
    }

    fn pairs(&self, name: &str) -> impl Iterator<Item = (String, String)> + '_ {
        let pairs = self.0[name].as_object().into_iter().flatten();
        pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
    }
}

async fn put(s3: &Client, call: &Call) -> Outcome {
    let mut request = s3.put_object().bucket(call.text("bucket")).key(call.text("key"));
    for (name, value) in call.pairs("metadata") {
        request = request.metadata(name, value);
    }
    request.body(ByteStream::from_path(call.text("file")).await?).send().await?;
    Ok(Value::Null)
}

async fn upload(s3: &Client, call: &Call) -> Outcome {
    let (bucket, key) = (call.text("bucket"), call.text("key"));
    let body = std::fs::read(call.text("file"))?;
    let begun = s3.create_multipart_upload().bucket(&bucket).key(&key).send().await?;
    let id = begun.upload_id().ok_or("no upload id")?;
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(body.chunks(PART_BYTES)) {
        let request = s3.upload_part().bucket(&bucket).key(&key).upload_id(id).part_number(number);
        let answer = request.body(part.to_vec().into()).send().await?;
        let done = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        parts.push(done.set_checksum_crc32(answer.checksum_crc32).build());
    }
    let every = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    s3.complete_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .multipart_upload(every)
        .send()
        .await?;
    Ok(Value::Null)
}

async fn get(s3: &Client, call: &Call) -> Outcome {
    let range = call.0["first"].as_u64().map(|first| format!("bytes={first}-{}", call.0["last"]));
    let request = s3.get_object().bucket(call.text("bucket")).key(call.text("key")).set_range(range);
    let answer = request.set_version_id(call.optional("version")).send().await?;
    std::fs::write(call.text("file"), answer.body.collect().await?.into_bytes())?;
    Ok(Value::Null)
}

async fn metadata(s3: &Client, call: &Call) -> Outcome {
    let answer = s3.head_object().bucket(call.text("bucket")).key(call.text("key")).send().await?;
    Ok(json!(answer.metadata.unwrap_or_default()))
}

async fn list(s3: &Client, call: &Call) -> Outcome {
    let request = s3.list_objects_v2().bucket(call.text("bucket")).prefix(call.text("prefix"));
    let mut pages = request.delimiter(call.text("delimiter")).into_paginator().send();
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page?;
        keys.extend(page.contents.into_iter().flatten().filter_map(|entry| entry.key));
        prefixes.extend(page.common_prefixes.into_iter().flatten().filter_map(|entry| entry.prefix));
    }
    Ok(json!({"keys": keys, "prefixes": prefixes}))
}

async fn copy(s3: &Client, call: &Call) -> Outcome {
    // The SDK sends the header as it is given; S3 wants it URL-encoded.
    let source: String = format!("{}/{}", call.text("bucket"), call.text("source"))
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    s3.copy_object().bucket(call.text("bucket")).key(call.text("key")).copy_source(source).send().await?;
    Ok(Value::Null)
}

async fn put_tags(s3: &Client, call: &Call) -> Outcome {
    let set: Result<Vec<Tag>, _> =
        call.pairs("tags").map(|(name, value)| Tag::builder().key(name).value(value).build()).collect();
    let tagging = Tagging::builder().set_tag_set(Some(set?)).build()?;
    s3.put_object_tagging().bucket(call.text("bucket")).key(call.text("key")).tagging(tagging).send().await?;
    Ok(Value::Null)
}

async fn tags(s3: &Client, call: &Call) -> Outcome {
    let answer = s3.get_object_tagging().bucket(call.text("bucket")).key(call.text("key")).send().await?;
    let pairs: Map<String, Value> =
        answer.tag_set.into_iter().map(|tag| (tag.key, tag.value.into())).collect();
    Ok(pairs.into())
}

async fn enable_versioning(s3: &Client, call: &Call) -> Outcome {
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    s3.put_bucket_versioning().bucket(call.text("bucket")).versioning_configuration(enabled).send().await?;
    Ok(Value::Null)
}

async fn versions(s3: &Client, call: &Call) -> Outcome {
    let answer =
        s3.list_object_versions().bucket(call.text("bucket")).prefix(call.text("key")).send().await?;
    let versions = answer.versions.into_iter().flatten();
    let markers = answer.delete_markers.into_iter().flatten();
    let mut every: Vec<(bool, Option<DateTime>, bool, String)> = versions
        .map(|entry| (entry.is_latest, entry.last_modified, false, entry.version_id))
        .chain(markers.map(|entry| (entry.is_latest, entry.last_modified, true, entry.version_id)))
        .map(|(latest, time, deleted, id)| (latest.unwrap_or(false), time, deleted, id.unwrap_or_default()))
        .collect();
    every.sort_by_key(|entry| std::cmp::Reverse((entry.0, entry.1)));
    let shown = every.into_iter().map(
        |(latest, _, deleted, version)| json!({"version": version, "latest": latest, "deleted": deleted}),
    );
    Ok(shown.collect())
}

async fn presign(s3: &Client, call: &Call) -> Outcome {
    let request = s3.get_object().bucket(call.text("bucket")).key(call.text("key"));
    let link = request.presigned(PresigningConfig::expires_in(Duration::from_secs(60))?).await?;
    Ok(link.uri().into())
}

async fn delete_many(s3: &Client, call: &Call) -> Outcome {
    let keys = call.0["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let objects: Result<Vec<_>, _> = keys.map(|key| ObjectIdentifier::builder().key(key).build()).collect();
    let all = Delete::builder().set_objects(Some(objects?)).build()?;
    let answer = s3.delete_objects().bucket(call.text("bucket")).delete(all).send().await?;
    match answer.errors() {
        [] => Ok(Value::Null),
        errors => Err(format!("{errors:?}").into()),
    }
}

async fn carry_out(s3: &Client, call: &Call) -> Outcome {
    match call.text("op").as_str() {
        "create_bucket" => {
            s3.create_bucket().bucket(call.text("bucket")).send().await?;
            Ok(Value::Null)
        }
        "put" => put(s3, call).await,
        "upload" => upload(s3, call).await,
        "get" => get(s3, call).await,
        "metadata" => metadata(s3, call).await,
        "list" => list(s3, call).await,
        "copy" => copy(s3, call).await,
        "put_tags" => put_tags(s3, call).await,
        "tags" => tags(s3, call).await,
        "enable_versioning" => enable_versioning(s3, call).await,
        "versions" => versions(s3, call).await,
        "presign" => presign(s3, call).await,
        "delete" => {
            s3.delete_object().bucket(call.text("bucket")).key(call.text("key")).send().await?;
            Ok(Value::Null)
        }
        "delete_many" => delete_many(s3, call).await,
        op => Err(format!("no call {op}").into()),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let keys = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(variable("ENDPOINT"))
        .region(Region::new(variable("AWS_REGION")))
        .force_path_style(true)
        .credentials_provider(Credentials::new(keys.0, keys.1, None, None, "environment"));
    let s3 = Client::from_conf(config.build());
    for line in std::io::stdin().lock().lines() {
        let call = Call(serde_json::from_str(&line?)?);
        let answer = match carry_out(&s3, &call).await {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": DisplayErrorContext(&*error).to_string()}),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
