//! The system must come to rest: when nothing changes, nobody writes.

use std::time::Duration;

use tokio::time::sleep;

use crate::audit::Audit;
use crate::wishes;

/// How long all wishes may take once everything is healed: longer than the longest back-off, the
/// quarantine of pods, and a rollout after them.
const PATIENCE: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_secs(5);
/// How long it has to be quiet.
const QUIET: Duration = Duration::from_secs(120);

/// Waits until all wishes are fulfilled, then until it is quiet. Gives how long the first took.
pub async fn await_rest(audit: &Audit) -> Result<Duration, String> {
    let mut waited = Duration::ZERO;
    loop {
        let open = wishes::unfulfilled(audit);
        if open.is_empty() {
            let (all, background) = audit.writes();
            sleep(QUIET).await;
            let (later, later_background) = audit.writes();
            let written = (later - later_background) - (all - background);
            if written == 0 {
                return Ok(waited);
            }
            waited += QUIET;
            if waited > PATIENCE {
                return Err(format!("no rest: {written} writes in two minutes without a reason"));
            }
        }
        if audit.is_halted() {
            return Ok(waited);
        }
        if waited > PATIENCE {
            return Err(format!("not fulfilled after an hour: {}", open.join("; ")));
        }
        sleep(LOOK).await;
        waited += LOOK;
    }
}
