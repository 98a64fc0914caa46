//! The XML of the S3 protocol: a bounded reader for the documents clients send, and a writer for every answer.
//!
//! Names and order of elements are those of the AWS S3 API reference. Next hop: the handlers under
//! `s3/{service,bucket,object,multipart}`, which call one function here for each document.

pub mod bucket;
pub mod delete;
pub mod list;
pub mod multipart;
pub mod object;
pub mod reader;
pub mod tagging;
pub mod versions;
pub mod writer;

pub use reader::XmlError;
pub use writer::XmlWriter;

/// The most bytes of a document that a client sends, but for [`MAX_COMPLETE_BYTES`].
pub const MAX_DOCUMENT_BYTES: usize = 2 << 20;
/// The most bytes of a `CompleteMultipartUpload` document: 10,000 parts with their checksums.
pub const MAX_COMPLETE_BYTES: usize = 8 << 20;

/// An account as S3 shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The canonical id.
    pub id: String,
    /// The name.
    pub display_name: String,
}

impl Owner {
    /// Writes the owner as an element of the given name (`Owner`, `Initiator`).
    pub fn write(&self, name: &str, writer: &mut XmlWriter) {
        writer.element(name, |w| {
            w.text("ID", &self.id);
            w.text("DisplayName", &self.display_name);
        });
    }
}
