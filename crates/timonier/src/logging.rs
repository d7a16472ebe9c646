//! What the daemons write to their standard error.

/// Begins to log; `TIMONIER_LOG` chooses what.
pub fn start() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIMONIER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hickory_server=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}
