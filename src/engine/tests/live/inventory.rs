//! Packs that are gone as a whole.

#![expect(clippy::disallowed_methods, reason = "the tests play a disk that forgets")]

use super::{Live, config, pattern};
use crate::engine::{Engine, Observer, PROJECTIONS};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Listener(Mutex<Sender<u64>>);

impl Observer for Listener {
    fn content_missing(&self, blobs: u64) {
        // The test may have heard enough.
        let _ = self.0.lock().unwrap().send(blobs);
    }
}

impl Live {
    /// Starts anew, and says how many blobs the first page of the search finds missing.
    fn missing_after_a_start(&mut self) -> u64 {
        if let Some(engine) = self.running.take() {
            engine.shutdown();
        }
        let (said, heard) = channel();
        let mut config = config(self.folder.path());
        config.observer = Arc::new(Listener(Mutex::new(said)));
        self.running = Some(Engine::open(config).unwrap());
        heard.recv_timeout(Duration::from_mins(1)).unwrap()
    }
}

#[test]
fn content_of_packs_that_are_gone_is_reported_after_each_start_also_where_the_index_went_with_them() {
    let (mut live, stream) = Live::with_bucket();
    live.put(stream, "in-the-log", b"v").unwrap();
    for object in ["large-1", "large-2"] {
        live.put(stream, object, &pattern(300_000)).unwrap();
    }
    assert_eq!(live.missing_after_a_start(), 0);
    live.put(stream, "large-3", &pattern(300_000)).unwrap();
    assert_eq!(live.missing_after_a_start(), 0);
    live.engine().shutdown();
    let data = live.folder.path().join("data");
    let (pack, kept) = (data.join("packs/00000001.pack"), live.folder.path().join("kept"));
    std::fs::rename(&pack, &kept).unwrap();
    for _ in 0..2 {
        assert_eq!(live.missing_after_a_start(), 2);
    }
    live.engine().shutdown();
    std::fs::remove_dir_all(data.join(PROJECTIONS)).unwrap();
    assert_eq!(live.missing_after_a_start(), 2, "the packs that are left know nothing of them");
    live.put(stream, "large-4", &pattern(300_000)).unwrap();
    live.engine().shutdown();
    std::fs::rename(&kept, &pack).unwrap();
    assert_eq!(live.missing_after_a_start(), 0, "put back, it is looked into");
    assert_eq!(live.get(stream, "large-1", 0..u64::MAX), Some(pattern(300_000)));
}
