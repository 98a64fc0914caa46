//! The configuration file, on its corpus and mutations of it.

use super::{Config, Environment};
use crate::fuzz::{Bound, check, targets};
use std::path::Path;

targets![files];

fn files() {
    // The TOML parser holds a tree of what it reads.
    let bound = Bound { fixed: 256 << 10, per_byte: 512 };
    check("config", bound, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        Config::from_layers(Some((Path::new("c.toml"), text)), &Environment::from([]), &[]).is_ok()
    });
}
