//! Log lines: one JSON object a line, on stderr.

use crate::config::LogLevel;
use tracing_subscriber::EnvFilter;

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

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(level: LogLevel) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(filter(level)))
        .with_writer(std::io::stderr)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
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
