//! Versions through the door.

use super::{Door, Reply};
use base64::Engine as _;
use md5::{Digest as _, Md5};

/// Sets a bucket's versioning.
pub(super) async fn set_versioning(door: &Door, bucket: &str, status: &str) {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    door.put(&format!("/{bucket}?versioning="), document).await.expect(200);
}

async fn versioned() -> Door {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    set_versioning(&door, "bkt", "Enabled").await;
    door
}

fn id(reply: &Reply) -> String {
    reply.header("x-amz-version-id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn versioning_is_configured_and_never_undone() {
    let door = Door::open();
    door.get("/bkt?versioning=").await.refused(404, "NoSuchBucket");
    door.put("/bkt", "").await.expect(200);
    assert!(!door.get("/bkt?versioning=").await.expect(200).text().contains("Status"));
    for (inner, status, code) in [
        ("", 400, "IllegalVersioningConfigurationException"),
        ("<Status>On</Status>", 400, "MalformedXML"),
        ("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", 501, "NotImplemented"),
    ] {
        let document = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
        door.put("/bkt?versioning=", document).await.refused(status, code);
    }
    door.put("/bkt?versioning=", "no document").await.refused(400, "MalformedXML");
    assert!(
        !door.get("/bkt?versioning=").await.expect(200).text().contains("Status"),
        "a refusal changes nothing"
    );
    for status in ["Enabled", "Suspended", "Enabled", "Enabled"] {
        set_versioning(&door, "bkt", status).await;
        assert_eq!(door.get("/bkt?versioning=").await.expect(200).one("Status"), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_of_a_versioned_key_is_kept_and_read_by_its_id() {
    let door = versioned().await;
    let first = id(&door.put("/bkt/k", "one").await.expect(200));
    let second = id(&door.put("/bkt/k", "two").await.expect(200));
    assert_ne!(first, second);
    let current = door.get("/bkt/k").await.expect(200);
    assert_eq!((current.text(), id(&current)), ("two", second.clone()));
    let old = door.get(&format!("/bkt/k?versionId={first}")).await.expect(200);
    assert_eq!((old.text(), id(&old)), ("one", first.clone()));
    let head = door.send("HEAD", &format!("/bkt/k?versionId={first}"), &[], "").await.expect(200);
    assert_eq!(id(&head), first);
    door.get("/bkt/k?versionId=null").await.refused(404, "NoSuchVersion");
    door.get("/bkt/k?versionId=x").await.refused(400, "InvalidArgument");
    door.get("/bkt/k?versionId=").await.refused(400, "InvalidArgument");
    let gone = door.delete(&format!("/bkt/k?versionId={second}")).await.expect(204);
    assert_eq!((id(&gone), gone.header("x-amz-delete-marker")), (second, ""));
    assert_eq!(door.get("/bkt/k").await.expect(200).text(), "one", "the one before is current again");
    door.delete("/bkt").await.refused(409, "BucketNotEmpty");
    door.delete(&format!("/bkt/k?versionId={first}")).await.expect(204);
    door.delete("/bkt").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_marker_hides_a_key_and_is_told_of() {
    let door = versioned().await;
    let object = id(&door.put("/bkt/k", "x").await.expect(200));
    let deleted = door.delete("/bkt/k").await.expect(204);
    let marker = id(&deleted);
    assert_eq!(deleted.header("x-amz-delete-marker"), "true");
    for (target, status, code) in [
        ("/bkt/k".to_owned(), 404, "NoSuchKey"),
        (format!("/bkt/k?versionId={marker}"), 405, "MethodNotAllowed"),
        ("/bkt/k?tagging=".to_owned(), 404, "NoSuchKey"),
        (format!("/bkt/k?tagging=&versionId={marker}"), 405, "MethodNotAllowed"),
    ] {
        let refused = door.get(&target).await.refused(status, code);
        assert_eq!(
            (refused.header("x-amz-delete-marker"), id(&refused)),
            ("true", marker.clone()),
            "{target}"
        );
        assert_eq!(refused.header("allow"), if status == 405 { "DELETE" } else { "" }, "{target}");
        let head = door.send("HEAD", &target, &[], "").await;
        assert!(target.contains("tagging") || head.status == status, "{target}");
    }
    let tags = "<Tagging><TagSet/></Tagging>";
    door.put(&format!("/bkt/k?tagging=&versionId={marker}"), tags).await.refused(405, "MethodNotAllowed");
    let tagged = door.put(&format!("/bkt/k?tagging=&versionId={object}"), tags).await.expect(200);
    assert_eq!(id(&tagged), object);
    assert_eq!(door.get("/bkt").await.expect(200).all("Key"), [""; 0]);
    let versions = door.get("/bkt?versions=").await.expect(200);
    assert_eq!(versions.all("VersionId"), [marker.as_str(), object.as_str()]);
    assert_eq!(versions.all("IsLatest"), ["true", "false"]);
    let undone = door.delete(&format!("/bkt/k?versionId={marker}")).await.expect(204);
    assert_eq!((undone.header("x-amz-delete-marker"), id(&undone)), ("true", marker));
    assert_eq!(door.get("/bkt/k").await.expect(200).text(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_bucket_replaces_its_null_version_only() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    assert_eq!(id(&door.put("/bkt/k", "null one").await.expect(200)), "");
    set_versioning(&door, "bkt", "Enabled").await;
    let kept = id(&door.put("/bkt/k", "kept").await.expect(200));
    assert_eq!(door.get("/bkt/k?versionId=null").await.expect(200).text(), "null one");
    set_versioning(&door, "bkt", "Suspended").await;
    assert_eq!(id(&door.put("/bkt/k", "null two").await.expect(200)), "null");
    let versions = door.get("/bkt?versions=").await.expect(200);
    assert_eq!(versions.all("VersionId"), ["null", kept.as_str()]);
    let deleted = door.delete("/bkt/k").await.expect(204);
    assert_eq!((deleted.header("x-amz-delete-marker"), id(&deleted).as_str()), ("true", "null"));
    door.get("/bkt/k?versionId=null").await.refused(405, "MethodNotAllowed");
    let versions = door.get("/bkt?versions=").await.expect(200);
    assert_eq!(versions.all("VersionId"), ["null", kept.as_str()]);
    door.delete("/bkt/k?versionId=null").await.expect(204);
    assert_eq!(door.get("/bkt/k").await.expect(200).text(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_versions_are_deleted_each_for_itself() {
    let door = versioned().await;
    let one = id(&door.put("/bkt/a", "x").await.expect(200));
    door.put("/bkt/b", "x").await.expect(200);
    let body = format!(
        "<Delete><Object><Key>a</Key><VersionId>{one}</VersionId></Object><Object><Key>b</Key></Object>\
         <Object><Key>b</Key><VersionId>nonsense</VersionId></Object></Delete>"
    );
    let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&body));
    let reply = door.send("POST", "/bkt?delete=", &[("content-md5", &md5)], body).await.expect(200);
    assert_eq!(reply.all("Deleted").len(), 2, "{}", reply.text());
    assert_eq!(reply.all("VersionId"), [one.as_str(), "nonsense"]);
    assert_eq!(reply.all("DeleteMarker"), ["true"]);
    assert_eq!(reply.one("Code"), "NoSuchVersion");
    let versions = door.get("/bkt?versions=").await.expect(200);
    assert_eq!((versions.all("Key"), versions.all("IsLatest")), (vec!["b", "b"], vec!["true", "false"]));
    assert_eq!(versions.all("VersionId")[0], reply.one("DeleteMarkerVersionId"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_version_listings_are_refused() {
    let door = versioned().await;
    for query in [
        "max-keys=x&versions=",
        "version-id-marker=null&versions=",
        "encoding-type=x&versions=",
        "key-marker=k&version-id-marker=x&versions=",
        "key-marker=k&version-id-marker=&versions=",
    ] {
        door.get(&format!("/bkt?{query}")).await.refused(400, "InvalidArgument");
    }
    door.get("/nobucket?versions=").await.refused(404, "NoSuchBucket");
    door.put("/bkt/k", "x").await.expect(200);
    let none = door.get("/bkt?max-keys=0&versions=").await.expect(200);
    assert_eq!((none.all("Key").len(), none.one("IsTruncated")), (0, "false"));
}

/// Measured on S3 (localstack/localstack, issue 13894; ministackorg/ministack, issue 1475); AWS's guide to conditional
/// deletes: they are evaluated against the current version only.
#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_delete_is_about_the_current_version_only() {
    let door = versioned().await;
    let any = [("if-match", "*")];
    door.send("DELETE", "/bkt/k", &any, "").await.refused(404, "NoSuchKey");
    let first = door.put("/bkt/k", "one").await.expect(200);
    let second = id(&door.put("/bkt/k", "two").await.expect(200));
    let old = [("if-match", first.header("etag"))];
    door.send("DELETE", "/bkt/k", &old, "").await.refused(412, "PreconditionFailed");
    for version in [&id(&first), &second] {
        for condition in [any, old] {
            let target = format!("/bkt/k?versionId={version}");
            let refused = door.send("DELETE", &target, &condition, "").await.refused(501, "NotImplemented");
            assert_eq!(refused.one("Header"), "If-Match");
            door.get(&target).await.expect(200);
        }
    }
    door.send("DELETE", "/bkt/k", &any, "").await.expect(204);
    for condition in [any, old] {
        door.send("DELETE", "/bkt/k", &condition, "").await.refused(404, "NoSuchKey");
    }
    let etag = first.header("etag").trim_matches('"');
    let entries = [
        ("k", format!("<ETag>{etag}</ETag><VersionId>{}</VersionId>", id(&first)), "NotImplemented"),
        ("k", "<ETag>*</ETag>".to_owned(), "NoSuchKey"),
    ];
    for (key, condition, code) in entries {
        let body = format!("<Delete><Object><Key>{key}</Key>{condition}</Object></Delete>");
        let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&body));
        let reply = door.send("POST", "/bkt?delete=", &[("content-md5", &md5)], body).await.expect(200);
        assert_eq!(reply.one("Code"), code);
    }
    door.get(&format!("/bkt/k?versionId={}", id(&first))).await.expect(200);
}
