//! Tags through the door.

use super::Door;

fn document(tags: &[(&str, &str)]) -> String {
    format!("<Tagging><TagSet>{}</TagSet></Tagging>", elements(tags))
}

fn elements(tags: &[(&str, &str)]) -> String {
    let tags = tags.iter().map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>"));
    tags.collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_has_the_tags_it_was_given_last() {
    let door = Door::open();
    door.put("/bkt?tagging=", document(&[])).await.refused(404, "NoSuchBucket");
    door.put("/bkt", "").await.expect(200);
    door.get("/bkt?tagging=").await.refused(404, "NoSuchTagSet");
    door.put("/bkt?tagging=", document(&[("b", "2"), ("a", "")])).await.expect(204);
    let found = door.get("/bkt?tagging=").await.expect(200);
    assert_eq!((found.all("Key"), found.all("Value")), (vec!["b", "a"], vec!["2", ""]));
    door.put("/bkt?tagging=", document(&[("c", "3")])).await.expect(204);
    for (body, code) in [
        ("<Tagging/>".to_owned(), "MalformedXML"),
        (String::new(), "MalformedXML"),
        (document(&[("a", "1"), ("a", "2")]), "InvalidTag"),
        (document(&[("aws:a", "1")]), "InvalidTag"),
        (document(&[("k", "v"); 51]), "BadRequest"),
    ] {
        door.put("/bkt?tagging=", body).await.refused(400, code);
    }
    assert_eq!(door.get("/bkt?tagging=").await.expect(200).all("Key"), ["c"], "a refusal changes nothing");
    door.delete("/bkt?tagging=").await.expect(204);
    door.delete("/bkt?tagging=").await.expect(204);
    door.get("/bkt?tagging=").await.refused(404, "NoSuchTagSet");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_the_tags_it_was_stored_with_until_it_gets_others() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    door.put("/bkt/k?tagging=", document(&[("a", "1")])).await.refused(404, "NoSuchKey");
    door.get("/bkt/k?tagging=").await.refused(404, "NoSuchKey");
    door.delete("/bkt/k?tagging=").await.refused(404, "NoSuchKey");
    door.send("PUT", "/bkt/k", &[("x-amz-tagging", "a=1&a=2")], "x").await.refused(400, "InvalidArgument");
    door.get("/bkt/k").await.refused(404, "NoSuchKey");
    door.send("PUT", "/bkt/k", &[("x-amz-tagging", "a=1&b=x%20y")], "x").await.expect(200);
    let stored = door.get("/bkt/k").await.expect(200);
    assert_eq!(stored.header("x-amz-tagging-count"), "2");
    let found = door.get("/bkt/k?tagging=").await.expect(200);
    assert_eq!((found.all("Key"), found.all("Value")), (vec!["a", "b"], vec!["1", "x y"]));
    assert_eq!(found.header("x-amz-version-id"), "");
    door.put("/bkt/k?tagging=", document(&[("k", "v"); 11])).await.refused(400, "BadRequest");
    door.put("/bkt/k?tagging=", document(&[("c", "3")])).await.expect(200);
    assert_eq!(door.get("/bkt/k?tagging=").await.all("Key"), ["c"]);
    assert_eq!(door.get("/bkt/k").await.header("last-modified"), stored.header("last-modified"));
    door.delete("/bkt/k?tagging=").await.expect(204);
    assert_eq!(door.get("/bkt/k?tagging=").await.expect(200).all("Key"), [""; 0]);
    assert!(!door.get("/bkt/k").await.expect(200).headers.contains_key("x-amz-tagging-count"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_keeps_its_tags_for_its_object() {
    let door = Door::open();
    door.put("/bkt", "").await.expect(200);
    let wrong = [("x-amz-tagging", "aws:a=1")];
    door.send("POST", "/bkt/k?uploads=", &wrong, "").await.refused(400, "InvalidTag");
    let created = door.send("POST", "/bkt/k?uploads=", &[("x-amz-tagging", "a=1")], "").await.expect(200);
    let id = created.one("UploadId");
    let part = door.put(&format!("/bkt/k?partNumber=1&uploadId={id}"), "x").await.expect(200);
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag")
    );
    door.send("POST", &format!("/bkt/k?uploadId={id}"), &[], parts).await.expect(200);
    assert_eq!(door.get("/bkt/k?tagging=").await.expect(200).all("Key"), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_created_with_its_tags_or_not_at_all() {
    let door = Door::open();
    let configuration = |tags: &[(&str, &str)]| {
        format!("<CreateBucketConfiguration><Tags>{}</Tags></CreateBucketConfiguration>", elements(tags))
    };
    for (tags, code) in [
        (configuration(&[("a", "1"), ("a", "2")]), "InvalidTag"),
        (configuration(&[("aws:a", "1")]), "InvalidTag"),
        (configuration(&[("k", "v"); 51]), "MalformedXML"),
    ] {
        door.put("/bkt", tags).await.refused(400, code);
    }
    door.get("/bkt").await.refused(404, "NoSuchBucket");
    door.put("/bkt", configuration(&[("b", "2"), ("a", "")])).await.expect(200);
    let found = door.get("/bkt?tagging=").await.expect(200);
    assert_eq!((found.all("Key"), found.all("Value")), (vec!["b", "a"], vec!["2", ""]));
}
