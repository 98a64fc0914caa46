//! The bytes of headers and footers.

use super::*;
use crate::id::Hash;
use crate::pack::format::*;
use crate::pack::{MAX_EXTENT, PAGE};
use proptest::prelude::*;

fn header() -> impl Strategy<Value = ExtentHeader> {
    let place = (any::<u32>(), 1..1u64 << 30, 0..=MAX_EXTENT)
        .prop_map(|(pack, page, data_len)| ExtentPlace { pack, offset: page * PAGE, data_len });
    (place, any::<([u8; 16], [u8; 16], u32, [u8; 32], bool)>(), 0..1u64 << 40).prop_flat_map(
        |(place, (blob, salt, index, hash, last), blob_offset)| {
            let total_len = blob_offset + u64::from(place.data_len);
            let end = last.then_some(BlobEnd { total_len, hash: Hash(hash) });
            let info = ExtentInfo { blob: BlobId(blob), salt: Salt(salt), index, blob_offset, place, end };
            let blocks = place.blocks() as usize;
            prop::collection::vec(any::<u32>(), blocks).prop_map(move |blocks| ExtentHeader { info, blocks })
        },
    )
}

proptest! {
    #[test]
    fn an_extent_header_survives_its_page(header in header()) {
        let page = header.encode(LOG);
        let place = header.info.place;
        prop_assert_eq!(page.len() as u64, PAGE);
        prop_assert_eq!(ExtentHeader::decode(&page, LOG, place.pack, place.offset), Ok(header));
    }

    #[test]
    fn a_flipped_bit_in_an_extent_header_is_noticed(header in header(), at in 0usize..4096, bit in 0u32..8) {
        let mut page = header.encode(LOG).to_vec();
        page[at] ^= 1 << bit;
        let place = header.info.place;
        prop_assert_eq!(ExtentHeader::decode(&page, LOG, place.pack, place.offset), Err(FormatError::Damaged));
    }

    #[test]
    fn an_extent_header_counts_only_in_its_own_place(header in header(), pages in 1u64..9) {
        let page = header.encode(LOG);
        let place = header.info.place;
        let elsewhere = [
            (LOG, place.pack, place.offset + pages * PAGE),
            (LOG, place.pack.wrapping_add(1), place.offset),
            (LogId([8; 16]), place.pack, place.offset),
        ];
        for (log, pack, offset) in elsewhere {
            prop_assert_eq!(ExtentHeader::decode(&page, log, pack, offset), Err(FormatError::Misplaced));
        }
    }

    #[test]
    fn a_footer_survives_its_bytes_and_ends_the_file(headers in prop::collection::vec(header(), 0..90), page in 1..1u64 << 20) {
        let extents: Vec<_> = headers
            .iter()
            .map(|header| ExtentInfo { place: ExtentPlace { pack: 3, ..header.info.place }, ..header.info })
            .collect();
        let offset = page * PAGE;
        let footer = encode_footer(LOG, 3, offset, extents.iter());
        prop_assert_eq!(footer.len() as u64, footer_len(extents.len()));
        let file_len = offset + footer.len() as u64;
        let trailer = &footer[footer.len() - 16..];
        prop_assert_eq!(footer_offset(trailer, file_len), Some(offset));
        prop_assert_eq!(decode_footer(&footer, LOG, 3), Ok(extents));
        prop_assert_eq!(decode_footer(&footer, LOG, 4), Err(FormatError::Misplaced));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic_or_a_large_allocation(bytes in prop::collection::vec(any::<u8>(), 0..300), count: u32) {
        prop_assert!(ExtentHeader::decode(&bytes, LOG, 1, PAGE).is_err());
        prop_assert!(check_pack_header(&bytes, LOG, 1).is_err());
        prop_assert!(decode_footer(&bytes, LOG, 1).is_err());
        prop_assert_eq!(footer_offset(&bytes, 1 << 20), None);
        let mut lying = encode_footer(LOG, 1, PAGE, [].iter()).to_vec();
        lying[28..32].copy_from_slice(&count.max(1).to_le_bytes());
        prop_assert_eq!(decode_footer(&lying, LOG, 1), Err(FormatError::Damaged));
    }
}

#[test]
fn a_pack_header_names_its_log_and_number_and_the_reader_it_needs() {
    let page = encode_pack_header(LOG, 5);
    assert_eq!(check_pack_header(&page, LOG, 5), Ok(()));
    assert_eq!(check_pack_header(&page, LOG, 6), Err(FormatError::Misplaced));
    assert_eq!(check_pack_header(&page, LogId([1; 16]), 5), Err(FormatError::Misplaced));
    assert_eq!(check_pack_header(&[0; 4096], LOG, 5), Err(FormatError::Empty));
    let mut newer = page.to_vec();
    newer[10] = 9;
    let crc = crate::codec::crc32c(&newer[..4092]).to_le_bytes();
    newer[4092..].copy_from_slice(&crc);
    assert_eq!(check_pack_header(&newer, LOG, 5), Err(FormatError::TooNew(9)));
}

#[test]
fn a_blob_is_assembled_only_from_all_its_extents_in_order() {
    let extent = |page, data_len| ExtentPlace { pack: 1, offset: page * PAGE, data_len };
    let extents = vec![extent(1, 8192), extent(9, 100), extent(20, 5)];
    let place = BlobPlace { len: 8297, salt: Salt([1; 16]), hash: Hash([2; 32]), extents };
    let infos: Vec<_> = extents_of(blob_id(1), &place).collect();
    assert_eq!(assemble(&infos), Some(place));
    let with = |change: fn(&mut Vec<ExtentInfo>)| {
        let mut changed = infos.clone();
        change(&mut changed);
        assemble(&changed)
    };
    assert_eq!(with(|infos| infos.truncate(2)), None);
    assert_eq!(with(|infos| infos.retain(|info| info.index != 1)), None);
    assert_eq!(with(|infos| infos.retain(|info| info.index != 0)), None);
    assert_eq!(with(|infos| infos.insert(1, infos[1])), None);
    assert_eq!(with(|infos| infos[1].salt = Salt([3; 16])), None);
    assert_eq!(with(Vec::clear), None);
}
