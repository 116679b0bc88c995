//! The data's way from and to the disk, as clients see it.
//!
//! While the data is being loaded connections are accepted and commands whose row says so run; all
//! others are refused with [`LOADING`], so that no client mistakes a key that has not been read yet
//! for one that is not there.

use crate::atomic::{AtomicU64, Ordering};

/// Reply to a command that needs the data before it is there.
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// How far the data has come from the disk; every core reads it, the thread that loads writes it.
#[derive(Debug, Default)]
pub struct Loading {
    /// When it began, in milliseconds since 1970; 0: nothing is being loaded.
    started_at_ms: AtomicU64,
    total_bytes: AtomicU64,
    loaded_bytes: AtomicU64,
}

impl Loading {
    /// From now on there is data to wait for.
    pub fn begin(&self, now_ms: u64) {
        self.started_at_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// So much of so much is there.
    pub fn advance(&self, loaded_bytes: u64, total_bytes: u64) {
        self.loaded_bytes.store(loaded_bytes, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    /// All cores have their shards: what a core does after it saw this can rely on all of them.
    pub fn end(&self) {
        self.started_at_ms.store(0, Ordering::Release);
    }

    /// Whether there is data to wait for.
    pub fn is_under_way(&self) -> bool {
        self.started_at_ms.load(Ordering::Acquire) != 0
    }

    /// The fields of INFO, in the words of Redis.
    pub(super) fn fields(&self, now_ms: u64) -> Vec<(&'static str, String)> {
        let started_at_ms = self.started_at_ms.load(Ordering::Relaxed);
        if started_at_ms == 0 {
            return vec![("loading", "0".to_owned())];
        }
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        let loaded_bytes = self.loaded_bytes.load(Ordering::Relaxed);
        // Redis rounds nothing to zero either: what has not begun takes at least a second.
        let spent_s = (now_ms.saturating_sub(started_at_ms) / MS_PER_SECOND).max(1);
        let left_bytes = total_bytes.saturating_sub(loaded_bytes);
        let eta_s = u128::from(left_bytes) * u128::from(spent_s) / u128::from(loaded_bytes.max(1));
        let percent = 100.0 * loaded_bytes as f64 / total_bytes.max(1) as f64;
        vec![
            ("loading", "1".to_owned()),
            (
                "loading_start_time",
                (started_at_ms / MS_PER_SECOND).to_string(),
            ),
            ("loading_total_bytes", total_bytes.to_string()),
            ("loading_loaded_bytes", loaded_bytes.to_string()),
            ("loading_loaded_perc", format!("{percent:.2}")),
            ("loading_eta_seconds", eta_s.max(1).to_string()),
        ]
    }
}

const MS_PER_SECOND: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_told_with_the_time_it_will_take() {
        let loading = Loading::default();
        assert_eq!(loading.fields(5_000), [("loading", "0".to_owned())]);
        loading.begin(1_000);
        loading.advance(25, 100);
        let fields: Vec<String> = loading
            .fields(5_000)
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let expected = [
            "loading:1",
            "loading_start_time:1",
            "loading_total_bytes:100",
            "loading_loaded_bytes:25",
            "loading_loaded_perc:25.00",
            "loading_eta_seconds:12",
        ];
        assert_eq!(fields, expected);
        assert!(loading.is_under_way());
        loading.end();
        assert!(!loading.is_under_way());
    }
}
