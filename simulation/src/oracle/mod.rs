//! What should be: a plain reference of what the log means, and the comparison with what clients were told.

pub mod check;
pub mod history;
pub mod model;

pub use check::{LogView, Verdict, check_log};
pub use history::{Answer, Condition, History, Intent, OpId, Seen, etag_of};
pub use model::Model;
