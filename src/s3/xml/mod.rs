//! The XML of the S3 protocol: a bounded reader for the documents clients send, and a writer for every answer.
//!
//! Names and order of elements are those of the AWS S3 API reference. Next hop: the handlers under
//! `s3/{service,bucket,object,multipart}`, which call one function here for each document.

pub mod reader;
pub mod writer;

pub use reader::XmlError;
pub use writer::XmlWriter;
