//! Files of the repository that a test writes: generated pages, and corpora that an encoder makes. Each crate includes
//! this file for its tests.

use std::path::{Path, PathBuf};

/// The repository's root, from whatever package the test belongs to.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().find(|folder| folder.join("tests/bless/mod.rs").is_file());
    root.expect("a package of this repository").to_owned()
}

/// Compares what a test generated with the file in the repository; with `SILTSTONE_BLESS=1` writes it instead.
///
/// # Panics
/// Where they differ.
#[expect(clippy::disallowed_methods, reason = "a file of the repository, in a test")]
pub(crate) fn bless_or_compare(path: &str, generated: impl AsRef<[u8]>) {
    let file = root().join(path);
    if std::env::var_os("SILTSTONE_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &generated).unwrap();
    }
    let committed = std::fs::read(&file).unwrap_or_default();
    let same = committed == generated.as_ref();
    assert!(
        same,
        "{path} is out of date: run the test again with SILTSTONE_BLESS=1, and look at what changed"
    );
}
