//! What should be: a plain reference of what the log means, and the comparison with what clients were told.

pub mod bucket;
pub mod check;
pub mod claims;
pub mod content;
pub mod history;
pub mod linearize;
pub mod lists;
pub mod model;

pub use bucket::Bucket;
pub use check::{LogView, Verdict, check_log};
pub use history::{
    Answer, Condition, CopySource, DeleteKey, History, Intent, OpId, Seen, SeenVersion, Tags, etag_of,
};
pub use model::Model;
