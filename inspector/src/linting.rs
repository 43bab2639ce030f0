//! `lfinspect lint`: watches a program for some seconds and tells what is amiss.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::connect::{ANSWER_TIMEOUT, ConnectError, Connection};
use crate::failure::{Outcome, to_stdout};
use crate::format;
use crate::lint::{Finding, Lint};
use crate::picture::Picture;
use crate::tui::data::Data;

/// Between two states.
const INTERVAL: Duration = Duration::from_millis(250);
/// The exit status when a lint was found that is not to be.
const DENIED: u8 = 3;

/// Lints that must not be found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Denied(Vec<Lint>);

impl Denied {
    /// Understands names; `all` is every lint.
    pub(crate) fn parse(names: &[String]) -> Result<Self, String> {
        let mut denied = Vec::new();
        for name in names {
            if name == "all" {
                denied.extend(Lint::ALL);
                continue;
            }
            let lint = Lint::ALL.into_iter().find(|lint| lint.name() == name);
            denied.push(lint.ok_or_else(|| {
                let known: Vec<&str> = Lint::ALL.iter().map(|lint| lint.name()).collect();
                format!("there is no lint '{name}': the lints are all, {}", known.join(", "))
            })?);
        }
        Ok(Self(denied))
    }

    fn has(&self, lint: Lint) -> bool {
        self.0.contains(&lint)
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    pid: u32,
    name: &'a str,
    watched_ms: u64,
    findings: Vec<&'a Finding>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Raised {
    pub(crate) finding: Finding,
    /// Over which time, for people, where that is not the last few seconds.
    pub(crate) when: Option<String>,
}

/// Prints what was raised within `time`, of which `picture` is the end; status 3 if that is denied.
pub(crate) fn report(
    picture: &Picture,
    raised: &[Raised],
    time: Duration,
    denied: &Denied,
    json: bool,
) -> Outcome<ExitCode> {
    to_stdout(|stdout| {
        if json {
            let report = Report {
                schema: "lfalloc-lint/1",
                pid: picture.pid,
                name: &picture.hello.name,
                watched_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                findings: raised.iter().map(|raised| &raised.finding).collect(),
            };
            serde_json::to_writer(&mut *stdout, &report)?;
            writeln!(stdout)?;
            return Ok(());
        }
        if raised.is_empty() {
            writeln!(
                stdout,
                "nothing is amiss: {} of {} mapped are live",
                format::bytes(picture.live_bytes()),
                format::bytes(picture.parts.mapped)
            )?;
        }
        for Raised { finding, when } in raised {
            let mark = if denied.has(finding.lint) { "denied" } else { "found" };
            writeln!(stdout, "{mark}: {} ({})", finding.lint.name(), format::bytes(finding.bytes))?;
            writeln!(stdout, "  evidence  {}", finding.evidence)?;
            if let Some(when) = when {
                writeln!(stdout, "  when      {when}")?;
            }
            writeln!(stdout, "  meaning   {}", finding.lint.meaning())?;
            writeln!(stdout, "  advice    {}", finding.lint.advice())?;
        }
        Ok(())
    })?;
    let is_denied = raised.iter().any(|raised| denied.has(raised.finding.lint));
    Ok(if is_denied { ExitCode::from(DENIED) } else { ExitCode::SUCCESS })
}

/// Watches for `time`, or until the program ends.
///
/// # Errors
/// When the connection ends before the first state.
pub(crate) fn watch(connection: &mut Connection, time: Duration) -> Result<Data, ConnectError> {
    let mut data = Data::new(connection.hello().clone(), 0);
    data.picture.pid = connection.pid();
    connection.subscribe(INTERVAL)?;
    let start = Instant::now();
    loop {
        let limit = if data.picture.states == 0 { time.max(ANSWER_TIMEOUT) } else { time };
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        match connection.receive(left) {
            Ok(Some((kind, payload))) => {
                data.apply(kind, &payload)?;
            }
            Ok(None) => {}
            // It ended: what was seen is still worth telling.
            Err(_) if data.picture.states > 0 => break,
            Err(error) => return Err(error),
        }
    }
    if data.picture.states == 0 {
        return Err(ConnectError::NoAnswer(ANSWER_TIMEOUT));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    //! Aim: names of lints are understood, and others are named.
    use super::*;

    #[test]
    fn denied_names() {
        let parse = |names: &[&str]| {
            Denied::parse(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert!(parse(&["pinned-superblocks"]).unwrap().has(Lint::PinnedSuperblocks));
        assert!(!parse(&["pinned-superblocks"]).unwrap().has(Lint::CacheHeavy));
        assert!(Lint::ALL.into_iter().all(|lint| parse(&["all"]).unwrap().has(lint)));
        let error = parse(&["pinned"]).unwrap_err();
        assert!(error.contains("'pinned'") && error.contains("cache-heavy"), "{error}");
    }
}
