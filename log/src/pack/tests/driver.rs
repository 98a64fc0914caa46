//! The real threads on a real file system.

use super::*;
use crate::host::real::RealDisk;
use crate::host::{DiskErrorKind, DiskResult, Folder};
use crate::pack::{
    ExtentPlace, PackClient, PackConfig, PackError, PackRefusal, PackThread, PackWriter, StagedBlob,
};
use std::sync::mpsc::channel;

const MEDIUM: PackConfig =
    PackConfig { pack_bytes: 4 * 1024 * 1024, extent_bytes: 512 * 1024, leave_free: 0 };

struct Store {
    _root: tempfile::TempDir,
    disk: RealDisk,
    index: Arc<MemoryBlobIndex>,
}

impl Store {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::DirBuilder::new().create(root.path().join(Folder::Packs.name())).unwrap();
        Self { disk: RealDisk::new(root.path()), _root: root, index: Arc::default() }
    }

    fn start(&self) -> (PackThread, PackClient) {
        let index: Arc<dyn BlobIndex> = self.index.clone();
        let script = Script::new(|io| recover_packs(io, LOG, index));
        let recovered = script.run(&mut self.disk.clone()).unwrap();
        let writer = PackWriter::new(&recovered, MEDIUM);
        PackThread::spawn(writer, &self.disk, self.index.clone(), |error| panic!("{error}")).unwrap()
    }

    fn execute(&self, op: &DiskOp) -> DiskResult {
        self.disk.execute(op)
    }

    fn upload(&self, client: &PackClient, blob: BlobId, content: &Bytes) -> Result<StagedBlob, PackError> {
        let mut guard = StagedBlob::new(client.clone(), blob);
        let (mut stager, mut hasher) = client.stager(blob, Salt([1; 16]), Some(content.len() as u64));
        stager.push(content.clone());
        stager.end();
        loop {
            match stager.step() {
                StagerStep::Reserve { bytes } => {
                    let (reply, answer) = channel();
                    guard.reserve(bytes, move |given| reply.send(given).unwrap());
                    stager.extent(answer.recv().unwrap()?);
                }
                StagerStep::Piece(piece) => {
                    client.write(|| piece.ops().iter().try_for_each(|op| self.execute(op).map(drop)))?;
                    match hasher.update(&piece) {
                        Hashed::More => {}
                        Hashed::Extent(header) => drop(self.execute(&header).unwrap()),
                        Hashed::Blob(header, place) => {
                            self.execute(&header).unwrap();
                            let (reply, answer) = channel();
                            guard.finish(place, move |durable| reply.send(durable).unwrap());
                            return answer.recv().unwrap().map(|()| guard);
                        }
                    }
                }
                StagerStep::Feed | StagerStep::Done => unreachable!("all bytes are there"),
            }
        }
    }

    fn read(&self, blob: BlobId) -> Option<Vec<u8>> {
        let place = self.index.get(blob).unwrap()?;
        let mut reader = BlobReader::new(LOG, blob, &place, 0..place.len);
        let mut out = Vec::new();
        while let Some(op) = reader.next_read() {
            let Ok(DiskReply::Data(bytes)) = self.execute(&op) else { panic!() };
            out.extend(reader.accept(bytes).unwrap().into_iter().flatten());
        }
        Some(out)
    }

    fn files(&self) -> Vec<Arc<str>> {
        let Ok(DiskReply::Files(files)) = self.execute(&DiskOp::List { folder: Folder::Packs }) else {
            panic!()
        };
        files.into_iter().map(|(name, _)| name).collect()
    }
}

#[test]
fn clients_upload_side_by_side_and_a_new_start_finds_it_all() {
    let store = Store::new();
    let content = |number: u64| Dice(number).bytes(150_000 * (1 + usize::try_from(number % 9).unwrap()));
    let (thread, client) = store.start();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (store, client) = (&store, &client);
            scope.spawn(move || {
                for number in worker * 5..worker * 5 + 5 {
                    store.upload(client, blob_id(number), &content(number)).unwrap().commit();
                    assert!(store.read(blob_id(number)).unwrap() == content(number));
                }
            });
        }
    });
    thread.stop();
    let found = store.index.blobs();
    assert_eq!(found.len(), 20);
    let (reply, answer) = channel();
    client.reserve(blob_id(99), 1, move |given| reply.send(given).unwrap());
    assert_eq!(answer.recv().unwrap(), Err(PackError::Closed));

    let store = Store { index: Arc::default(), ..store };
    let (thread, _client) = store.start();
    assert_eq!(store.index.blobs(), found);
    for number in 0..20 {
        assert!(store.read(blob_id(number)).unwrap() == content(number));
    }
    thread.stop();
}

#[test]
fn a_staged_blob_that_is_dropped_leaves_nothing_behind() {
    let store = Store::new();
    let (thread, client) = store.start();
    let content = Dice(1).bytes(700_000);
    store.upload(&client, blob_id(1), &content).unwrap().commit();
    drop(store.upload(&client, blob_id(2), &content).unwrap());
    let unfinished = StagedBlob::new(client.clone(), blob_id(3));
    let (reply, answer) = channel();
    unfinished.reserve(500_000, move |given| reply.send(given).unwrap());
    let extent = answer.recv().unwrap().unwrap();
    let data = vec![content.slice(..500_000)];
    store
        .execute(&DiskOp::Write { file: pack_file(extent.pack), offset: extent.data_offset(), data })
        .unwrap();
    drop(unfinished);
    thread.stop();
    let blobs: Vec<_> = store.index.blobs().into_iter().map(|(blob, _)| blob).collect();
    assert_eq!(blobs, [blob_id(1)]);
    assert!(store.read(blob_id(1)).unwrap() == content);
    let Ok(DiskReply::Data(left)) = store.execute(&DiskOp::Read {
        file: pack_file(extent.pack),
        offset: extent.offset,
        len: extent.footprint(),
        from_disk: false,
    }) else {
        panic!()
    };
    assert!(left.iter().all(|byte| *byte == 0));
}

#[test]
fn a_stop_without_content_leaves_one_empty_pack_so_that_its_number_is_not_used_twice() {
    let store = Store::new();
    let (thread, client) = store.start();
    drop(store.upload(&client, blob_id(1), &Bytes::from_static(b"x")).unwrap());
    thread.stop();
    assert_eq!(store.files(), [pack_file(1).name]);
    let (thread, client) = store.start();
    store.upload(&client, blob_id(2), &Bytes::from_static(b"x")).unwrap().commit();
    thread.stop();
    let (thread, _client) = store.start();
    thread.stop();
    assert_eq!(store.files(), [pack_file(2).name]);
}

#[test]
fn a_failed_write_of_content_stops_the_store() {
    let store = Store::new();
    let writer = PackWriter::new(&RecoveredPacks::none(LOG), MEDIUM);
    let (failed, failure) = channel();
    let index: Arc<dyn BlobIndex> = store.index.clone();
    let (thread, client) =
        PackThread::spawn(writer, &store.disk, index, move |error| failed.send(error).unwrap()).unwrap();
    let written = client.write(|| store.execute(&DiskOp::Sync { file: pack_file(77) }));
    assert!(matches!(written, Err(PackError::Write(_))));
    assert_eq!(failure.recv().unwrap().kind, DiskErrorKind::NotFound);
    let refused = store.upload(&client, blob_id(1), &Bytes::from_static(b"x")).err();
    assert_eq!(refused, Some(PackError::Refused(PackRefusal::Failed)));
    thread.stop();
}

/// The room that a blob is given.
fn reserve(staged: &StagedBlob, bytes: u32) -> ExtentPlace {
    let (reply, answer) = channel();
    staged.reserve(bytes, move |given| reply.send(given).unwrap());
    answer.recv().unwrap().unwrap()
}

#[test]
fn a_stop_waits_for_the_writes_under_way_and_lets_no_other_begin() {
    let store = Store::new();
    let (thread, client) = store.start();
    store.upload(&client, blob_id(1), &Dice(1).bytes(100_000)).unwrap().commit();
    let staged = StagedBlob::new(client.clone(), blob_id(2));
    let extent = reserve(&staged, 500_000);
    let (begun, has_begun) = channel();
    let (release, released) = channel::<()>();
    let (stopped, has_stopped) = channel();
    std::thread::scope(|scope| {
        let (store, client) = (&store, &client);
        let late = scope.spawn(move || {
            client.write(|| {
                begun.send(()).unwrap();
                released.recv().unwrap();
                let data = vec![Bytes::from(vec![9; 500_000])];
                store.execute(&DiskOp::Write {
                    file: pack_file(extent.pack),
                    offset: extent.data_offset(),
                    data,
                })
            })
        });
        has_begun.recv().unwrap();
        scope.spawn(move || {
            thread.stop();
            stopped.send(()).unwrap();
        });
        // The stop has closed the gate when no write can begin any more; it cannot end while one is under way.
        while client.write(|| Ok(())).is_ok() {
            std::thread::yield_now();
        }
        assert!(has_stopped.try_recv().is_err());
        release.send(()).unwrap();
        late.join().unwrap().unwrap();
        has_stopped.recv().unwrap();
    });
    assert_eq!(client.write(|| Ok(())), Err(PackError::Closed));
    let read = DiskOp::Read {
        file: pack_file(extent.pack),
        offset: extent.offset,
        len: extent.footprint(),
        from_disk: false,
    };
    let Ok(DiskReply::Data(left)) = store.execute(&read) else { panic!() };
    assert!(left.iter().all(|byte| *byte != 9), "its space was given back after the write");
    assert!(store.read(blob_id(1)).unwrap() == Dice(1).bytes(100_000));
}

#[test]
fn a_write_that_lands_after_its_upload_was_given_up_touches_nobody_else() {
    let store = Store::new();
    let (thread, client) = store.start();
    let abandoned = StagedBlob::new(client.clone(), blob_id(1));
    let extent = reserve(&abandoned, 500_000);
    drop(abandoned);
    let contents: Vec<_> = (2..9).map(|number| (blob_id(number), Dice(number).bytes(600_000))).collect();
    for (blob, content) in &contents {
        store.upload(&client, *blob, content).unwrap().commit();
    }
    // Owners do not let this happen; if one did, it would cost space and not content.
    let data = vec![Bytes::from(vec![9; 500_000])];
    store
        .execute(&DiskOp::Write { file: pack_file(extent.pack), offset: extent.data_offset(), data })
        .unwrap();
    for (blob, content) in &contents {
        assert!(store.read(*blob).unwrap() == *content);
    }
    thread.stop();
}
