use super::*;
use proptest::prelude::*;
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
}
