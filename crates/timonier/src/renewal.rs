//! Certificates are renewed while the process runs.
//!
//! ```text
//! not before ───────── 70 % ──┬── 90 % ──── not after
//!                             └ ask ► put in use ► the next one's turn
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use timonier_cli::pki;
use timonier_meta::{Environment, Time};

/// The first and the longest pause after a renewal that failed (upstream's).
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// The clock is looked at this often: it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(600);

/// Renews a certificate (PEM) whenever most of its life is over, for ever. `renew` gets a new one,
/// puts it in use and gives it back; what fails is tried again.
pub async fn keep_young<F>(
    what: &str,
    certificate: String,
    env: Arc<dyn Environment>,
    mut renew: impl FnMut() -> F,
) where
    F: Future<Output = Result<String>>,
{
    let mut certificate = certificate;
    loop {
        // One that cannot be read is due at once.
        if let Some(due) = pki::renewal_due(&certificate, env.random()) {
            wait_until(due, &*env).await;
        }
        let mut pause = FIRST_PAUSE;
        certificate = loop {
            match renew().await {
                Ok(new) => break new,
                Err(error) => tracing::warn!("{what} was not renewed; trying again: {error:#}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        tracing::info!("{what} was renewed");
    }
}

async fn wait_until(due: Time, env: &dyn Environment) {
    loop {
        let left = due.0.saturating_sub(env.now().0);
        if left <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_micros(left as u64).min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    use anyhow::bail;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// The clock of tokio, which the test winds on.
    struct Virtual {
        start: tokio::time::Instant,
        random: AtomicU64,
    }

    impl Environment for Virtual {
        fn now(&self) -> Time {
            Time(START * 1_000_000 + self.start.elapsed().as_micros() as i64)
        }

        fn random(&self) -> u64 {
            self.random.fetch_add(67, Ordering::Relaxed)
        }
    }

    const START: i64 = 1_900_000_000;
    const HOUR: i64 = 3600;

    fn made_at(seconds: i64, life: i64) -> String {
        let time = |s: i64| UNIX_EPOCH + Duration::from_secs(s as u64);
        let mut params = CertificateParams::default();
        params.not_before = time(seconds).into();
        params.not_after = time(seconds + life).into();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_certificate_is_there_before_the_last_ends() {
        let start = tokio::time::Instant::now();
        let env = Arc::new(Virtual { start, random: AtomicU64::new(0) });
        let now = || env.now().0 / 1_000_000 - START;
        // When each was made, and when it was asked for in vain.
        let (made, failed) = (RefCell::new(vec![0]), RefCell::new(Vec::new()));
        let renew = || async {
            if made.borrow().len() == 3 && failed.borrow().len() < 7 {
                failed.borrow_mut().push(now());
                bail!("nobody answers");
            }
            made.borrow_mut().push(now());
            Ok(made_at(START + now(), HOUR))
        };
        let renewals = keep_young("it", made_at(START, HOUR), env.clone(), renew);
        let _ = tokio::time::timeout(Duration::from_secs(86_400), renewals).await;
        let made = made.into_inner();
        assert!(made.len() > 24, "{made:?}");
        let ages: Vec<i64> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(ages.iter().all(|age| (HOUR * 7 / 10..HOUR).contains(age)), "{ages:?}");
        let late = ages.iter().filter(|age| **age > HOUR * 9 / 10 + 1).count();
        assert!(late <= 1, "only where nobody answered: {ages:?}");
        let spread: std::collections::BTreeSet<&i64> = ages.iter().collect();
        assert!(spread.len() > 3, "not all at the same age: {ages:?}");
        let pauses: Vec<i64> = failed.borrow().windows(2).map(|p| p[1] - p[0]).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 32]);
    }
}
