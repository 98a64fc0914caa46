//! The S3 door.
pub mod xml;
