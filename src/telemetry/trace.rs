//! Log lines: one JSON object a line, on stderr.

use crate::config::LogLevel;
use tracing_subscriber::{EnvFilter, reload};

/// The filter for a level: ours at that level, libraries never below their warnings.
fn filter(level: LogLevel) -> String {
    let libraries = match level {
        LogLevel::Error => "error",
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug => "warn",
        LogLevel::Trace => "debug",
    };
    let own = level.as_str();
    format!(
        "{libraries},siltstone={own},siltstone_log={own},siltstone_projections={own},siltstone_replication={own}"
    )
}

/// Changes how much is logged, once logging has started.
pub struct Level(Box<dyn Fn(LogLevel) -> Result<(), reload::Error> + Send + Sync>);

impl Level {
    /// From now on.
    pub fn set(&self, level: LogLevel) -> Result<(), reload::Error> {
        (self.0)(level)
    }
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(level: LogLevel) -> Level {
    let builder = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(filter(level)))
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let _ = tracing::subscriber::set_global_default(builder.finish());
    Level(Box::new(move |level| handle.reload(EnvFilter::new(filter(level)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_makes_a_filter_that_is_understood() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let parsed = EnvFilter::builder().parse(filter(level));
            assert!(parsed.is_ok(), "{}", filter(level));
        }
    }
}
