//! Log lines.

use tracing_subscriber::EnvFilter;

/// Plain lines on standard error from now on; `RUST_LOG` chooses which (default `info`).
///
/// Without effect when the process logs already.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    // Under systemd the journal puts the time before each line.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
}
