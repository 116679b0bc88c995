//! SIGHUP: the options and the configuration file are read again, and what can change while the server
//! runs is changed.
//!
//! ```text
//!   read all of it ──► good? ──► every core takes what CONFIG SET could change ──► the log names it
//!                        └─ no: nothing changes, and the log says why
//! ```
//!
//! What counts afterwards is what a restart would give, except for what only a restart can change: that
//! is named, a line each, as long as it differs from what the server was started with. So what CONFIG
//! SET has changed and nobody has written into the file (CONFIG REWRITE) is lost as by a restart.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::control::{Control, Mail, Taken};
use super::log;
use super::notify::Notifier;
use crate::command::{Settings, Shared};
use crate::config::{Config, SETTINGS};
use crate::error::Error;

/// How long a core may take to answer; one that does not is stuck, or the server has stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the options and the file again: the configuration, and the warnings it gave.
pub(crate) type Reread = Box<dyn Fn() -> Result<(Config, Vec<String>), Error> + Send>;

/// What a reload needs.
pub(super) struct Reload {
    pub(super) reread: Reread,
    /// What the server was started with.
    pub(super) started: Settings,
    pub(super) control: Arc<Control>,
    pub(super) shared: Arc<Shared>,
    pub(super) notifier: Option<Arc<Notifier>>,
}

impl Reload {
    /// Reads the settings again and tells the log what has become of them.
    pub(super) fn run(&self) {
        if self.shared.loading.is_under_way() {
            log::line(format_args!("SIGHUP: not now, data is being loaded"));
            return;
        }
        if self.control.is_stopping() {
            // Cores that have ended would not answer, and a second SIGTERM is not to wait for them.
            return;
        }
        if let Some(notifier) = &self.notifier {
            notifier.tell_reloading();
        }
        match self.apply() {
            Ok(changed) if changed.is_empty() => {
                log::line(format_args!(
                    "SIGHUP: settings read again, nothing has changed"
                ));
            }
            Ok(changed) => log::line(format_args!(
                "SIGHUP: settings read again, changed: {}",
                changed.join(", ")
            )),
            Err(error) => {
                log::warning(format_args!("SIGHUP: nothing was changed: {error}"));
            }
        }
        // Also when nothing was changed: the manager waits for the end of it.
        if let Some(notifier) = &self.notifier {
            notifier.tell_ready();
        }
    }

    /// The names of the settings that have changed.
    fn apply(&self) -> Result<Vec<&'static str>, Error> {
        let (config, warnings) = (self.reread)()?;
        config.check()?;
        let changed = self.give_to_cores(&config.settings)?;
        for warning in warnings {
            log::warning(format_args!("{warning}"));
        }
        for name in differences(&self.started, &config.settings) {
            log::warning(format_args!(
                "{name} cannot change while the server runs; it will at the next start"
            ));
        }
        Ok(changed)
    }

    fn give_to_cores(&self, settings: &Settings) -> Result<Vec<&'static str>, Error> {
        let settings = Arc::new(settings.clone());
        let (sender, outcomes) = mpsc::channel::<Taken>();
        for core in 0..self.control.core_count() {
            let mail = Mail::Settings {
                settings: Arc::clone(&settings),
                taken: sender.clone(),
            };
            self.control.hand_over(core, mail);
        }
        // All answer alike.
        let mut changed = Vec::new();
        for _ in 0..self.control.core_count() {
            let outcome = outcomes.recv_timeout(PATIENCE);
            let outcome = outcome.map_err(|_| Error::Start("a core does not answer".to_owned()))?;
            changed = outcome.map_err(Error::Start)?;
        }
        Ok(changed)
    }
}

/// The settings that only a start can change and that are otherwise than at the last one.
fn differences(started: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let fixed = SETTINGS.iter().filter(|setting| !setting.is_live);
    fixed
        .filter(|setting| started.get(setting) != wanted.get(setting))
        .map(|setting| setting.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stops_reads_nothing_again() {
        let (ringer, _doorbell) = crate::server::socket::doorbell().unwrap();
        let reload = Reload {
            reread: Box::new(|| unreachable!("it stops")),
            started: Settings::default(),
            control: Arc::new(Control::new(vec![ringer])),
            shared: Arc::new(Shared::new(1)),
            notifier: None,
        };
        reload.control.stop();
        reload.run();
    }

    #[test]
    fn only_what_a_start_alone_can_change_is_named() {
        let started = Settings::default();
        let mut wanted = started.clone();
        assert!(differences(&started, &wanted).is_empty());
        wanted.timeout_s = 5;
        wanted.port = 1;
        wanted.dir = "/elsewhere".to_owned();
        assert_eq!(differences(&started, &wanted), ["dir", "port"]);
    }
}
