//! SIGHUP: the options and the configuration file are read again, and what can change while the server
//! runs is changed.
//!
//! ```text
//!   read all of it ──► good? ──► the first core takes what CONFIG SET could change,
//!                        │       then the others what it has ──► the log names it
//!                        └─ no: nothing changes, and the log says why
//! ```
//!
//! It is the first core that hands the order on, so whichever of this and of CONFIG SET comes first there
//! comes first on all, and a core that is late misses nothing.
//!
//! What counts afterwards is what a restart would give, except for what only a restart can change: that
//! is named, a line each, as long as it differs from what the server was started with. So what CONFIG
//! SET has changed and nobody has written into the file (CONFIG REWRITE) is lost as by a restart.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::clock::Deadline;
use super::control::{Control, Mail, Taken};
use super::notify::Notifier;
use crate::command::{Settings, Shared};
use crate::config::{Config, SETTINGS};
use crate::error::Error;

/// How long the cores may take to answer; one that does not is stuck, or the server has stopped.
const PATIENCE: Duration = Duration::from_secs(3);

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
        let log = &self.control.log;
        if self.shared.loading.is_under_way() {
            log.line(format_args!("SIGHUP: not now, data is being loaded"));
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
            Ok(Outcome::NotYet) => log.warning(format_args!(
                "SIGHUP: settings read again, core 0 does not answer: no core has changed them yet"
            )),
            Ok(Outcome::Changed { names, late }) => {
                match names.as_slice() {
                    [] => log.line(format_args!(
                        "SIGHUP: settings read again, nothing has changed"
                    )),
                    names => log.line(format_args!(
                        "SIGHUP: settings read again, changed: {}",
                        names.join(", ")
                    )),
                }
                for core in late {
                    log.warning(format_args!(
                        "SIGHUP: core {core} does not answer, it changes them once it goes on"
                    ));
                }
            }
            Err(error) => log.warning(format_args!("SIGHUP: nothing was changed: {error}")),
        }
        // Also when nothing was changed: the manager waits for the end of it.
        if let Some(notifier) = &self.notifier {
            notifier.tell_ready();
        }
    }

    fn apply(&self) -> Result<Outcome, Error> {
        let (config, warnings) = (self.reread)()?;
        config.check()?;
        let outcome = self.give_to_cores(&config.settings)?;
        for warning in warnings {
            self.control.log.warning(format_args!("{warning}"));
        }
        for name in differences(&self.started, &config.settings) {
            self.control.log.warning(format_args!(
                "{name} cannot change while the server runs; it will at the next start"
            ));
        }
        Ok(outcome)
    }

    fn give_to_cores(&self, settings: &Settings) -> Result<Outcome, Error> {
        let (taken, answers) = mpsc::channel::<Taken>();
        let settings = Arc::new(settings.clone());
        self.control
            .hand_over(0, Mail::Settings { settings, taken });
        let deadline = Deadline::after(PATIENCE);
        let answer = || answers.recv_timeout(deadline.left());
        let Ok((_, outcome)) = answer() else {
            return Ok(Outcome::NotYet);
        };
        let names = outcome.map_err(Error::Start)?;
        let mut late: Vec<u16> = (1..self.control.core_count()).collect();
        while let Some((core, _)) = (!late.is_empty()).then(answer).and_then(Result::ok) {
            late.retain(|it| *it != core);
        }
        Ok(Outcome::Changed { names, late })
    }
}

/// What has become of settings that are good.
enum Outcome {
    /// The first core, and so no other, has not taken them.
    NotYet,
    /// It has.
    Changed {
        /// The settings that were otherwise.
        names: Vec<&'static str>,
        /// The cores that have not.
        late: Vec<u16>,
    },
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
    use crate::server::log::Log;

    #[test]
    fn a_server_that_stops_reads_nothing_again() {
        let (ringer, _doorbell) = crate::server::socket::doorbell().unwrap();
        let reload = Reload {
            reread: Box::new(|| unreachable!("it stops")),
            started: Settings::default(),
            control: Arc::new(Control::new(vec![ringer], Log::none())),
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
