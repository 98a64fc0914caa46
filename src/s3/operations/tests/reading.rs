//! Reads that wait for room.

use super::copies::{copy, row};
use super::versions::set_versioning;
use super::{Door, Reply, pattern};
use crate::engine::Command;
use crate::engine::command::ExpireVersions;
use siltstone_log::event::Actor;
use siltstone_log::name::{BucketName, ObjectKey};

/// Lets a request that reads an object wait, as all room is taken, until another request has done away with its version,
/// which has then left the history window as well.
async fn late(door: &Door, request: impl Future<Output = Reply>, method: &str, changed: &str) -> Reply {
    let row = row(door, "bkt", "k");
    // Of 1 MiB of room 4 KiB are left: too little for the answer.
    let held = [512, 508].map(|kib| door.engine.try_admit_read(kib << 10).unwrap());
    let change = async {
        // Who waits for room has taken what there was.
        while door.engine.try_admit_read(1).is_some() {
            tokio::task::yield_now().await;
        }
        assert!(door.send(method, changed, &[], "new").await.status < 300);
        let bucket = BucketName::parse("bkt").unwrap();
        let (found, _) = door.engine.view().bucket(&bucket).unwrap().unwrap();
        let versions = vec![(ObjectKey::parse("k").unwrap(), row.seq)];
        let expire = ExpireVersions { stream: found.stream, versions };
        let actor = Actor::server(siltstone_log::event::Door::Worker);
        door.engine.submit(Command::new(actor, expire, door.engine.entropy())).await.unwrap();
        while door.engine.read_content(&row, 0..1, held[0].clone()).next().await.is_ok() {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    tokio::join!(request, change).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_went_while_its_reader_waited_for_room_is_answered_as_what_is_there_now() {
    let door = Door::with(|config| config.limits.read_bytes = 1 << 20);
    door.put("/bkt", "").await.expect(200);
    door.put("/bkt/k", pattern(300_000)).await.expect(200);
    assert_eq!(late(&door, door.get("/bkt/k"), "PUT", "/bkt/k").await.expect(200).text(), "new");
    door.put("/bkt/k", pattern(300_000)).await.expect(200);
    late(&door, door.get("/bkt/k"), "DELETE", "/bkt/k").await.refused(404, "NoSuchKey");
    set_versioning(&door, "bkt", "Enabled").await;
    let put = door.put("/bkt/k", pattern(300_000)).await.expect(200);
    let version = format!("/bkt/k?versionId={}", put.header("x-amz-version-id"));
    late(&door, door.get(&version), "DELETE", &version).await.refused(404, "NoSuchVersion");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_went_while_its_copy_waited_for_room_is_copied_as_what_is_there_now() {
    let door = Door::with(|config| config.limits.read_bytes = 1 << 20);
    for bucket in ["/bkt", "/other"] {
        door.put(bucket, "").await.expect(200);
    }
    door.put("/bkt/k", pattern(300_000)).await.expect(200);
    let to_other = || copy(&door, "/bkt/k", "/other/copy", &[]);
    late(&door, to_other(), "PUT", "/bkt/k").await.expect(200);
    assert_eq!(door.get("/other/copy").await.expect(200).text(), "new");
    door.put("/bkt/k", pattern(300_000)).await.expect(200);
    late(&door, to_other(), "DELETE", "/bkt/k").await.refused(404, "NoSuchKey");
    assert_eq!(door.get("/other/copy").await.expect(200).text(), "new", "nothing was changed");
}
