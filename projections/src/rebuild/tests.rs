use super::*;
use crate::changes::{Batch, Changes};
use crate::rows::{Row, TenantRow};
use crate::store::mem::MemStore;
use crate::testing::*;
use siltstone_log::hlc::Hlc;
use siltstone_log::id::Seq;

#[test]
fn a_comparison_names_the_rows_that_differ() {
    let log = log_of(&[
        Step::System(SystemStep::Tenant(0)),
        Step::System(SystemStep::Tenant(1)),
        Step::System(SystemStep::User { user: 0, account: 0 }),
    ]);
    let (live, rebuilt) = (MemStore::new(), MemStore::new());
    log.follow(&live, 1).unwrap();
    log.follow(&rebuilt, 9).unwrap();
    assert!(compare(&live, &rebuilt, Space::System, 5).unwrap().is_equal());

    // Rot of the live rows behind the digest's back: one row altered, one gone, one too many.
    let tenant = |name: &str| SystemKey::Tenant(name.into()).encode();
    let other = TenantRow { created: crate::rows::At { seq: Seq(99), hlc: Hlc(0) } }.to_stored().unwrap();
    let mut rot = Changes::new();
    rot.set(tenant("user"), None, Some(other.clone()));
    rot.set(tenant("user\0"), live.get(Space::System, &tenant("user\0")).unwrap(), None);
    rot.set(tenant("x"), None, Some(other));
    let mut batch = Batch::new(Space::System, LOG);
    batch.merge(rot);
    live.commit(batch).unwrap();

    let comparison = compare(&live, &rebuilt, Space::System, 2).unwrap();
    assert!(!comparison.is_equal());
    assert_eq!((comparison.different, comparison.first.len()), (3, 2));
    let first = &comparison.first[0];
    assert_eq!(first.describe(), "Tenant(\"user\")");
    assert!(first.left.is_some() && first.right.is_some() && first.left != first.right);
    assert_eq!(comparison.first[1].left, None);
    let [kept, _] = comparison.kept;
    let [found, rebuilt_found] = comparison.found;
    assert_ne!(kept, found, "the altered row shows in the live store alone");
    assert_eq!(rebuilt_found, comparison.kept[1]);
}

#[test]
fn a_rebuild_stops_at_a_record_it_cannot_apply() {
    let mut log = log_of(&[Step::System(SystemStep::Tenant(0)), Step::System(SystemStep::Tenant(1))]);
    log.records.remove(0);
    let store = MemStore::new();
    let mut rebuild = Rebuild::new(&store, LOG, vec![], Pace::REBUILD).unwrap();
    assert_eq!(rebuild.resume_from(), Position(1));
    let error = rebuild.push(log.records).unwrap_err();
    assert!(matches!(error, RebuildError::Stuck(stuck) if stuck.position == Position(2)));
}
