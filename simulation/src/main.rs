//! `siltstone-sim`.

fn main() {}
