use super::*;
use proptest::prelude::*;
use siltstone_log::event::SealedSecret;
use siltstone_log::host::real::RealEntropy;
use std::os::unix::fs::PermissionsExt;

fn folder() -> (tempfile::TempDir, RealDisk) {
    let root = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(root.path());
    (root, disk)
}

fn open(disk: &RealDisk, env: &Environment) -> Result<Keys, KeysError> {
    Keys::open(disk, env, &RealEntropy)
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_start_makes_keys_that_later_starts_find_readable_by_the_owner_only() {
    let (root, disk) = folder();
    let first = open(&disk, &[].into()).unwrap();
    assert_eq!(first.root.origin(), RootOrigin::Created);
    let sealed = first.master.seal("AK", "the secret", &RealEntropy).unwrap();
    let second = open(&RealDisk::new(root.path()), &[].into()).unwrap();
    assert_eq!(second.root.origin(), RootOrigin::Stored);
    assert_eq!(second.root.access_key(), first.root.access_key());
    assert_eq!(second.root.secret_key(), first.root.secret_key());
    assert_eq!(second.master.open("AK", &sealed).unwrap().as_str(), "the secret");
    let keys = root.path().join("keys");
    assert_eq!(mode(&keys), 0o700);
    assert_eq!((mode(&keys.join("master.key")), mode(&keys.join("root.json"))), (0o600, 0o600));
}

#[test]
fn a_folder_that_others_can_read_is_closed_to_them() {
    let (root, disk) = folder();
    open(&disk, &[].into()).unwrap();
    let keys = root.path().join("keys");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(&disk, &[].into()).unwrap();
    assert_eq!(mode(&keys), 0o700);
}

#[test]
fn root_credentials_of_the_environment_win_and_are_not_stored() {
    let (root, disk) = folder();
    let env = [("SILTSTONE_ROOT_ACCESS_KEY", "rootkey"), ("SILTSTONE_ROOT_SECRET_KEY", "canary-secret")];
    let keys = open(&disk, &env.into()).unwrap();
    assert!(keys.root.is_root("rootkey") && !keys.root.is_root("rootke") && !keys.root.is_root(""));
    assert_eq!(keys.root.origin(), RootOrigin::Environment);
    assert!(!root.path().join("keys/root.json").exists());
    assert!(!format!("{keys:?}").contains("canary"));
}

#[test]
fn half_of_the_credentials_or_ones_outside_the_rules_are_refused() {
    let refused = |access: &str, secret: &str| {
        let env = [("SILTSTONE_ROOT_ACCESS_KEY", access), ("SILTSTONE_ROOT_SECRET_KEY", secret)];
        open(&folder().1, &env.into()).is_err_and(|error| matches!(error, KeysError::Root(_)))
    };
    assert!(refused("rootkey", ""));
    assert!(refused("", "12345678"));
    assert!(refused("ab", "12345678"));
    assert!(refused("rootkey", "1234567"));
    assert!(refused("root,key", "12345678"));
    assert!(refused(&"a".repeat(129), "12345678"));
    assert!(refused("rootkey", &"s".repeat(129)));
    assert!(refused("rootkey", "1234\n5678"));
    assert!(!refused(&"a".repeat(128), &"s".repeat(128)));
}

#[test]
fn a_damaged_key_file_is_refused_and_never_replaced() {
    let (root, disk) = folder();
    open(&disk, &[].into()).unwrap();
    for content in
        ["", "{}", r#"{"format":2,"current":1,"keys":[]}"#, r#"{"format":1,"current":1,"keys":[]}"#]
    {
        let path = root.path().join("keys/master.key");
        replace(&path, content);
        let error = open(&disk, &[].into()).unwrap_err();
        assert!(
            matches!(error, KeysError::Store(KeyStoreError::Malformed { name: "master.key", .. })),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

#[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
fn replace(path: &std::path::Path, content: &str) {
    // In place, as the store keeps files open.
    std::fs::write(path, content).unwrap();
}

#[test]
fn made_credentials_keep_the_rules_and_differ() {
    let (a, b) = (new_access_key(&RealEntropy), new_access_key(&RealEntropy));
    let (s, t) = (new_secret_key(&RealEntropy), new_secret_key(&RealEntropy));
    assert!(check_credentials(&a, &s).is_ok() && check_credentials(&b, &t).is_ok());
    assert!(a != b && s != t && a.len() == 20 && s.len() == 40);
}

proptest! {
    #[test]
    fn a_secret_opens_for_its_access_key_only(id in "[A-Z]{3,20}", other in "[A-Z]{3,20}", secret in ".{0,128}", flip in 0usize..1000) {
        let master = MasterKey::open_or_create(&prepared().1, &RealEntropy).unwrap();
        let sealed = master.seal(&id, &secret, &RealEntropy).unwrap();
        let opened = master.open(&id, &sealed).unwrap();
        prop_assert_eq!(opened.as_str(), &*secret);
        if other != id {
            prop_assert_eq!(master.open(&other, &sealed), Err(OpenError::NotAuthentic));
        }
        let mut changed = sealed.clone();
        let at = flip % changed.ciphertext.len();
        changed.ciphertext[at] ^= 1;
        prop_assert_eq!(master.open(&id, &changed), Err(OpenError::NotAuthentic));
        let other_version = sealed.key_version.wrapping_add(1);
        let unknown = SealedSecret { key_version: other_version, ..sealed };
        prop_assert_eq!(master.open(&id, &unknown), Err(OpenError::UnknownVersion(other_version)));
    }
}

fn prepared() -> (tempfile::TempDir, RealDisk) {
    let (root, disk) = folder();
    files::prepare_folder(&disk).unwrap();
    (root, disk)
}
