use super::*;
use proptest::prelude::*;
use siltstone_log::id::{Hash, LogId, Salt};
use siltstone_log::pack::{ExtentPlace, MemoryBlobIndex};
use siltstone_projections::store::mem::MemStore;
use std::collections::BTreeSet;

fn id(number: u8) -> BlobId {
    BlobId([number; 16])
}

proptest! {
    #[test]
    fn pages_of_any_size_find_what_is_stored_and_not_in_use(
        stored: BTreeSet<u8>,
        mut in_use: Vec<u8>,
        page in 1_usize..9,
    ) {
        in_use.sort_unstable();
        let stored: Vec<_> = stored.into_iter().map(id).collect();
        let mut found = Vec::new();
        for page in stored.chunks(page) {
            let rows = in_use.iter().copied().map(id).filter(|used| *used >= page[0]).map(Ok);
            found.extend(orphans(page.to_vec(), rows).unwrap());
        }
        let used: BTreeSet<_> = in_use.into_iter().map(id).collect();
        let expected: Vec<_> = stored.into_iter().filter(|blob| !used.contains(blob)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn rows_that_cannot_be_read_make_no_orphans(stored in 1_u8..20, readable in 0_u8..20) {
        let rows = (0..readable.min(stored - 1)).map(|number| Ok(id(number)));
        let rows = rows.chain([Err(StoreError::Damaged("a row".to_owned()))]);
        prop_assert!(orphans((0..stored).map(id).collect(), rows).is_err());
    }

    #[test]
    fn a_walk_names_each_blob_of_older_packs_once_and_what_is_left_of_others_last(
        stored: std::collections::BTreeMap<u8, (bool, bool)>,
        remains in 0_u8..3,
        page in 1_usize..9,
    ) {
        let index = MemoryBlobIndex::default();
        let place = |large, pack| {
            let extents = vec![ExtentPlace { pack, offset: 4096, data_len: 1 }];
            BlobPlace { len: if large { TURN_BYTES } else { 1 }, salt: Salt([0; 16]), hash: Hash::default(), extents }
        };
        for (number, (large, own)) in &stored {
            index.put(id(*number), &place(*large, if *own { 5 } else { 4 })).unwrap();
        }
        let incomplete: Vec<_> = (0..remains).map(|number| (id(number), place(false, 3))).collect();
        let packs = RecoveredPacks { next_pack: 5, incomplete, ..RecoveredPacks::none(LogId([1; 16])) };
        let (mut sweeper, rows) = (Sweeper::new(&packs, page), MemStore::new());
        let around = Surroundings { unreadable: false, giving_back: 0 };
        let busy = Surroundings { giving_back: 1, ..around };
        let mut found = Vec::new();
        loop {
            prop_assert_eq!(sweeper.turn(&rows, &index, busy).unwrap(), Turn::Wait);
            match sweeper.turn(&rows, &index, around).unwrap() {
                Turn::Free(blobs) => {
                    let large = blobs.iter().filter(|(_, place)| place.len == TURN_BYTES).count();
                    prop_assert!(blobs.len() <= page && large <= 1);
                    found.extend(blobs.into_iter().map(|(blob, _)| blob));
                }
                end => {
                    prop_assert_eq!(end, Turn::Done);
                    break;
                }
            }
        }
        let older = stored.iter().filter(|(_, (_, own))| !own).map(|(number, _)| id(*number));
        let expected: Vec<_> = older.chain((0..remains).rev().map(id)).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(
            sweeper.turn(&rows, &index, Surroundings { unreadable: true, ..around }).unwrap(),
            Turn::Refused
        );
    }
}
