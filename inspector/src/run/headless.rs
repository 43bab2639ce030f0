//! `run` without the interface: the program has the terminal, and a report follows its end, on standard error.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lfalloc_protocol::message::{Kind, StateEnd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::program::{End, Program};
use super::reason::why_never;
use super::source::LaunchedSource;
use crate::lint::{Finding, Lint};
use crate::report::Watched;
use crate::source::{Source as _, SourceEvent};
use crate::tui::data::Data;
use crate::tui::events::Entry;
use crate::{format, process};

/// How long to wait for something to happen before looking whether the program has ended.
const POLL: Duration = Duration::from_millis(100);
/// What the agent has said may take so long to arrive after the program has ended.
const REST: Duration = Duration::from_millis(500);

/// Signals that reach us: those for the program are passed on, those that it has from the terminal as well are dropped.
pub(super) struct Passing {
    signals: Signals,
}

/// The thread that passes signals on; ends when dropped.
pub(super) struct Passes {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Passing {
    /// Takes signals from now on: before there is a program that might outlive us. What was ignored when we started stays
    /// ignored, for the program too (`nohup`).
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn new() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let taken = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];
        let taken = taken.into_iter().filter(|number| !is_ignored(&status, *number));
        Ok(Self { signals: Signals::new(taken)? })
    }

    /// Passes them on to `program`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn to(mut self, program: &Arc<Program>) -> io::Result<Passes> {
        let handle = self.signals.handle();
        let program = Arc::clone(program);
        let pass = move || {
            for number in self.signals.forever() {
                if matches!(number, SIGTERM | SIGHUP) {
                    program.signal(number);
                }
            }
        };
        let thread = thread::Builder::new().name("lfinspect-signals".to_owned()).spawn(pass)?;
        Ok(Passes { handle, thread: Some(thread) })
    }
}

impl Drop for Passes {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// Whether that signal is ignored, by the text of `/proc/PID/status`.
fn is_ignored(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (number - 1) & 1 == 1
}

/// Watches `program` until it has ended, and reports.
pub(super) fn watch(program: &Arc<Program>, rate_hz: f64, ascii: bool) -> End {
    let mut source = LaunchedSource::new(Arc::clone(program), rate_hz);
    let mut seen = Seen::default();
    while program.end().is_none() {
        seen.take(source.poll(POLL));
    }
    let deadline = Instant::now() + REST;
    while Instant::now() < deadline && seen.take(source.poll(POLL)) {}
    let end = program.wait();
    let report = seen.report(program, end, ascii);
    // With standard error closed there is nobody to tell.
    let _ = io::stderr().lock().write_all(report.as_bytes());
    end
}

/// What was seen of the program.
#[derive(Default)]
struct Seen {
    states: u64,
    /// The connection that there is.
    now: Option<Told>,
    /// An earlier one that has told a state: of what the program was before.
    before: Option<Told>,
    most_mapped: i64,
    most_live: i64,
    raised: BTreeMap<Lint, Finding>,
    /// Why nothing was seen, in the source's words.
    reason: Option<String>,
}

/// What one connection has told.
struct Told {
    data: Data,
    /// When its last state came.
    at: Instant,
    /// The state before it: what rates are since.
    earlier: Option<(u64, StateEnd)>,
}

impl Seen {
    /// Takes in what the source said; whether there may be more of it.
    fn take(&mut self, event: SourceEvent) -> bool {
        match event {
            SourceEvent::Connected(hello) => {
                let told = Told { data: Data::new(hello, 0), at: Instant::now(), earlier: None };
                let before = self.now.replace(told);
                self.before =
                    before.filter(|told| told.data.picture.states > 0).or(self.before.take());
            }
            SourceEvent::Process { pid, rss_bytes } => {
                if let Some(told) = &mut self.now {
                    told.data.picture.pid = pid;
                    // The last that was told: of a process that has ended there is none.
                    let picture = &mut told.data.picture;
                    picture.rss_bytes = rss_bytes.or(picture.rss_bytes);
                }
            }
            SourceEvent::Frame(kind, payload) => self.take_frame(kind, &payload),
            SourceEvent::Gone(_) => return false,
            SourceEvent::Failed(reason) | SourceEvent::Waiting(reason) => {
                self.reason = Some(reason);
            }
            SourceEvent::Silent { .. } | SourceEvent::Quiet => {}
        }
        true
    }

    fn take_frame(&mut self, kind: Kind, payload: &[u8]) {
        let Some(told) = &mut self.now else { return };
        let picture = &told.data.picture;
        let (states, earlier) = (picture.states, (picture.uptime_ns, picture.end));
        if let Err(error) = told.data.apply(kind, payload) {
            self.reason = Some(error.to_string());
            self.now = None;
            return;
        }
        let picture = &told.data.picture;
        if picture.states == states {
            return;
        }
        told.earlier = (states > 0).then_some(earlier);
        told.at = Instant::now();
        self.states += 1;
        self.most_mapped = self.most_mapped.max(picture.parts.mapped);
        self.most_live = self.most_live.max(picture.live_bytes());
        for finding in told.data.lints.raised() {
            self.raised.insert(finding.lint, finding.clone());
        }
    }

    fn report(self, program: &Program, end: End, ascii: bool) -> String {
        let mut report = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_report(&mut report, program, end, ascii);
        report
    }

    fn write_report(
        self,
        report: &mut String,
        program: &Program,
        end: End,
        ascii: bool,
    ) -> fmt::Result {
        let nanoseconds = |from: Instant| {
            u64::try_from(end.at.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
        };
        let ran = format::duration(nanoseconds(program.started()));
        let (pid, name, words) = (program.pid(), program.name(), end.words());
        write!(report, "lfinspect: pid {pid} ({name}) {words} after {ran}")?;
        let has_state = |told: &Told| told.data.picture.states > 0;
        let Some(told) = self.now.filter(has_state).or(self.before) else {
            return match why_nothing(self.reason, program.file()) {
                Some(reason) => writeln!(report, "; no state was seen: {reason}"),
                None => writeln!(report, "; no state was seen: it ended before one came"),
            };
        };
        writeln!(
            report,
            "; {} {} seen, the last {} before its end",
            format::thousands(self.states),
            if self.states == 1 { "state" } else { "states" },
            format::duration(nanoseconds(told.at))
        )?;
        writeln!(
            report,
            "peak: mapped {}, live {}",
            format::bytes(self.most_mapped),
            format::bytes(self.most_live)
        )?;
        if self.raised.is_empty() {
            writeln!(report, "lints: nothing was amiss for 3 seconds or longer")?;
        }
        for (lint, finding) in &self.raised {
            let bytes = format::bytes(finding.bytes);
            writeln!(report, "lint: {} ({bytes}): {}", lint.name(), finding.evidence)?;
        }
        writeln!(report, "\n{}", told.watched().page(ascii).trim_end())
    }
}

/// Why no state came, if more is known than that none did: a process that is gone tells nothing, but its file may.
fn why_nothing(reason: Option<String>, file: &Path) -> Option<String> {
    reason.filter(|reason| reason.contains("; ")).or_else(|| why_never(file))
}

impl Told {
    /// The last state, as the page shows it.
    fn watched(self) -> Watched {
        let log = &self.data.events;
        let entries = (log.first()..log.end()).filter_map(|number| match log.get(number) {
            Some(Entry::Transition(record)) => Some(*record),
            _ => None,
        });
        let (records, missed) = (entries.collect(), log.missed_total());
        let user = process::user_name(process::own_user_id());
        let mut watched = Watched::still(self.data.picture, user);
        watched.remember(missed, records);
        if let Some((uptime_ns, then)) = self.earlier {
            watched.set_rates(uptime_ns, &then);
        }
        watched
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the report tells what was seen last and at most. Method: a made-up program speaks.
    use std::ffi::{OsStr, OsString};

    use super::*;
    use crate::run::program::Start;
    use crate::source::synthetic::{Synthetic, SyntheticSource};

    #[test]
    fn masks_of_signals_are_read() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000003\nSigCgt:\t00\n";
        assert!(is_ignored(status, SIGHUP) && is_ignored(status, SIGINT));
        assert!(!is_ignored(status, SIGTERM) && !is_ignored("", SIGTERM));
    }

    fn ended(words: &[&str]) -> (Arc<Program>, End) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let preload = OsStr::new("");
        let start = Start { words: &words, preload, output: None, apart: true };
        let program = Program::start(&start).unwrap();
        let end = program.wait();
        (program, end)
    }

    #[test]
    fn a_report_without_a_state_is_one_line() {
        let (program, end) = ended(&["sh", "-c", "exit 3"]);
        let report = Seen::default().report(&program, end, true);
        assert_eq!(report.lines().count(), 1, "{report}");
        let start = format!("lfinspect: pid {} (sh) ended with status 3 after ", program.pid());
        assert!(report.starts_with(&start), "{report}");
        let waiting = "waiting for pid 1 (x) to show itself; it is so";
        let seen = Seen { reason: Some(waiting.to_owned()), ..Seen::default() };
        let report = seen.report(&program, end, true);
        assert!(report.ends_with(&format!("no state was seen: {waiting}\n")), "{report}");
    }

    fn seen_states(states: u64) -> Seen {
        let mut source = SyntheticSource::new(Synthetic {
            superblocks: 100,
            operations: 1_000,
            ..Synthetic::default()
        });
        let mut seen = Seen::default();
        while seen.states < states {
            assert!(seen.take(source.poll(Duration::ZERO)));
        }
        seen
    }

    #[test]
    fn a_file_tells_why_nothing_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        // 32-bit.
        let header = [&b"\x7fELF\x01\x01"[..], &[0; 58]].concat();
        fs::write(&file, header).unwrap();
        let reason = why_nothing(Some("waiting".to_owned()), &file).unwrap();
        assert!(reason.starts_with("it is no 64-bit program"), "{reason}");
        assert_eq!(why_nothing(Some("a; b".to_owned()), &file).unwrap(), "a; b");
        assert_eq!(why_nothing(None, Path::new("/no/such")), None);
    }

    #[test]
    fn one_state_is_no_states() {
        let (program, end) = ended(&["true"]);
        let report = seen_states(1).report(&program, end, true);
        assert!(report.contains("; 1 state seen, the last "), "{report}");
    }

    #[test]
    fn peaks_and_the_last_state_are_told() {
        let seen = seen_states(20);
        let (program, end) = ended(&["true"]);
        let report = seen.report(&program, end, true);
        let lines: Vec<_> = report.lines().collect();
        assert!(lines[0].contains("; 20 states seen, the last "), "{report}");
        assert!(lines[1].starts_with("peak: mapped ") && lines[1].contains(", live "), "{report}");
        assert!(lines[2].starts_with("lint"), "{report}");
        assert!(report.contains("WHERE THE MAPPED BYTES ARE"), "{report}");
        assert!(report.contains("LAST TRANSITIONS") || report.contains("TRANSITIONS"), "{report}");
        assert!(report.is_ascii());
    }
}
