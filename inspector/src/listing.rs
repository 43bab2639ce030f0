//! `lfinspect ls`: every program that can be watched, and those that cannot with the reason.
//!
//! The cheap `TOTALS` do not tell live blocks from live large ones, so EXT% cannot be had from them.
//! Each program is therefore asked for one full state: the figures are then the same ones, by the
//! same formulas, that every other screen shows.

use std::io::Write;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::connect::{ConnectError, Connection};
use crate::discover::Candidate;
use crate::failure::Outcome;
use crate::format;
use crate::picture::{Picture, hit_fraction};
use crate::{process, target};

/// Name and version of the JSON of `ls --json`.
pub const SCHEMA: &str = "lfalloc-list/1";
/// How long a program has for its state; one that is stopped shall not hold up the list.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// What `ls` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listing {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Programs that answered, by process id.
    pub processes: Vec<Row>,
    /// Sockets behind which nobody did.
    pub unreachable: Vec<Unreachable>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Process id as our system sees it.
    pub pid: u32,
    /// Process id as the program sees it.
    pub namespace_pid: u32,
    /// Name of its user; `?` where the system does not tell.
    pub user: String,
    /// Name of the program.
    pub name: String,
    /// Milliseconds it has run.
    pub uptime_ms: u64,
    /// Resident bytes, where we may see them.
    pub rss_bytes: Option<u64>,
    /// Bytes mapped by lfalloc.
    pub mapped_bytes: i64,
    /// Bytes the program holds, large blocks included.
    pub live_bytes: i64,
    /// EXT%, as a fraction; null without a superblock.
    pub external_fraction: Option<f64>,
    /// Bytes in magazines and depot.
    pub cached_bytes: i64,
    /// Bytes that they hold at most, with as many processors as have used them; null without, and from an agent before
    /// protocol 1.3.
    pub cached_most_bytes: Option<i64>,
    /// 1 − refills / pops of all magazines, ever; null likewise, and before the first.
    pub hit_fraction: Option<f64>,
    /// Whether the figures are of one instant.
    pub consistent: bool,
    /// Version of the allocator.
    pub allocator_version: String,
    /// Version of the protocol.
    pub protocol: String,
    /// Path of the socket as we reach it.
    pub socket: String,
}

/// A socket that did not lead to a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreachable {
    /// Process id by its file name.
    pub pid: u32,
    /// Name by its file name.
    pub name: String,
    /// Path of the socket.
    pub socket: String,
    /// Why.
    pub reason: String,
    /// Whether nobody can ever answer there: its program has ended.
    pub stale: bool,
}

impl Listing {
    /// Asks all programs at once.
    #[must_use]
    pub fn take() -> Self {
        let (reached, unreached) = target::all();
        Self::of(reached, &unreached)
    }

    /// Asks these programs at once.
    #[must_use]
    pub fn of(reached: Vec<Connection>, unreached: &[(Candidate, ConnectError)]) -> Self {
        let mut unreachable: Vec<_> =
            unreached.iter().map(|(candidate, error)| Unreachable::new(candidate, error)).collect();
        let mut processes = Vec::with_capacity(reached.len());
        thread::scope(|scope| {
            let asked: Vec<_> = reached
                .into_iter()
                .map(|mut connection| {
                    scope.spawn(move || {
                        let state = connection.state(STATE_TIMEOUT);
                        (connection, state)
                    })
                })
                .collect();
            for answer in asked {
                let (connection, state) =
                    answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                match state {
                    Ok(picture) => processes.push(Row::new(&connection, &picture)),
                    Err(error) => unreachable.push(Unreachable {
                        pid: connection.pid(),
                        name: connection.hello().name.clone(),
                        socket: connection.path().display().to_string(),
                        reason: error.reason(),
                        stale: false,
                    }),
                }
            }
        });
        Self { schema: SCHEMA, processes, unreachable }
    }

    /// Writes the table.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn write_table(&self, mut out: impl Write) -> Outcome<()> {
        if self.processes.is_empty() && self.unreachable.is_empty() {
            writeln!(out, "nothing can be watched now; start one with `lfinspect demo`")?;
            return Ok(());
        }
        let header = [
            "PID", "USER", "NAME", "UPTIME", "RSS", "MAPPED", "LIVE", "EXT%", "CACHED", "HIT%",
            "PROTO",
        ];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.processes.iter().map(Row::cells));
        let widths: [usize; 11] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        });
        // Heads without columns below them say nothing.
        let shown = if self.processes.is_empty() { &[][..] } else { &rows };
        for row in shown {
            writeln!(out, "{}", aligned(row, &widths).trim_end())?;
        }
        let (stale, others): (Vec<_>, Vec<_>) =
            self.unreachable.iter().partition(|unreachable| unreachable.stale);
        for unreachable in others {
            writeln!(
                out,
                "{:>width$} {}: {} ({})",
                unreachable.pid,
                process::printable(&unreachable.name),
                process::printable(&unreachable.reason),
                process::printable(&unreachable.socket),
                width = widths[0],
            )?;
        }
        match stale.len() {
            0 => {}
            1 => writeln!(
                out,
                "1 stale socket (its program has ended); `lfinspect doctor` names it"
            )?,
            count => writeln!(
                out,
                "{count} stale sockets (their programs have ended); `lfinspect doctor` names them"
            )?,
        }
        out.flush()?;
        Ok(())
    }
}

impl Row {
    /// What `picture` says of the program behind `connection`.
    pub(crate) fn new(connection: &Connection, picture: &Picture) -> Self {
        let hello = connection.hello();
        let front = picture.front_figures();
        Self {
            pid: connection.pid(),
            namespace_pid: hello.pid,
            user: connection.peer_uid().map_or_else(|| "?".to_owned(), process::user_name),
            name: hello.name.clone(),
            uptime_ms: picture.uptime_ns / 1_000_000,
            rss_bytes: picture.rss_bytes,
            mapped_bytes: picture.parts.mapped,
            live_bytes: picture.live_bytes(),
            external_fraction: picture.external_fraction(),
            cached_bytes: picture.parts.cached,
            cached_most_bytes: front.map(|front| front.most_bytes()),
            hit_fraction: front
                .and_then(|front| hit_fraction(front.pops as f64, front.refills as f64)),
            consistent: picture.end.consistent,
            allocator_version: hello.allocator_version.clone(),
            protocol: format!("{}.{}", hello.major, hello.minor),
            socket: connection.path().display().to_string(),
        }
    }

    /// What the table shows.
    #[must_use]
    pub fn cells(&self) -> [String; 11] {
        let rss = self.rss_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        [
            self.pid.to_string(),
            self.user.clone(),
            self.name.clone(),
            format::duration(self.uptime_ms.saturating_mul(1_000_000)),
            rss.map_or_else(|| "-".to_owned(), format::bytes),
            format::bytes(self.mapped_bytes),
            format::bytes(self.live_bytes),
            format::percent(self.external_fraction),
            format::bytes(self.cached_bytes),
            format::percent(self.hit_fraction),
            self.protocol.clone(),
        ]
    }
}

impl Unreachable {
    /// Why `candidate` did not lead to a program.
    pub(crate) fn new(candidate: &Candidate, error: &ConnectError) -> Self {
        Self {
            pid: candidate.name.pid,
            name: candidate.name.name.clone(),
            socket: candidate.path.display().to_string(),
            reason: error.reason(),
            stale: matches!(error, ConnectError::Stale),
        }
    }
}

/// One line: words to the left, figures to the right.
fn aligned(row: &[String; 11], widths: &[usize; 11]) -> String {
    const WORDS: [usize; 3] = [1, 2, 10];
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        if column > 0 {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        if WORDS.contains(&column) {
            line.push_str(cell);
            line.push_str(&padding);
        } else {
            line.push_str(&padding);
            line.push_str(cell);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    //! Aim: columns stand below their heads whatever the figures are, and reasons are shown.

    use super::*;

    fn row(pid: u32, name: &str) -> Row {
        Row {
            pid,
            namespace_pid: pid,
            user: "alice".to_owned(),
            name: name.to_owned(),
            uptime_ms: 61_000,
            rss_bytes: None,
            mapped_bytes: 1 << 20,
            live_bytes: 1 << 19,
            external_fraction: Some(0.125),
            cached_bytes: 1 << 16,
            cached_most_bytes: Some(1 << 20),
            hit_fraction: Some(0.984),
            consistent: true,
            allocator_version: "0.1.0".to_owned(),
            protocol: "1.0".to_owned(),
            socket: "/run/a.sock".to_owned(),
        }
    }

    fn table(listing: &Listing) -> String {
        let mut out = Vec::new();
        listing.write_table(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_the_unreachable_named() {
        let unreachable = |pid, name: &str, reason: &str, stale| Unreachable {
            pid,
            name: name.to_owned(),
            socket: format!("/run/\u{1b}[31m\u{202e}/{name}.{pid}.sock"),
            reason: reason.to_owned(),
            stale,
        };
        let unreachable = vec![
            unreachable(9, "silent", "no answer within 1.0 s", false),
            unreachable(10, "dead", "stale", true),
            unreachable(11, "dead", "stale", true),
        ];
        let processes = vec![row(7, "a"), row(123_456, "a_longer_name")];
        let listing = Listing { schema: SCHEMA, processes, unreachable };
        insta::assert_snapshot!(table(&listing), @r"
           PID  USER   NAME           UPTIME  RSS    MAPPED     LIVE   EXT%    CACHED   HIT%  PROTO
             7  alice  a               1m01s    -  1.00 MiB  512 KiB  12.5%  64.0 KiB  98.4%  1.0
        123456  alice  a_longer_name   1m01s    -  1.00 MiB  512 KiB  12.5%  64.0 KiB  98.4%  1.0
             9 silent: no answer within 1.0 s (/run/?[31m?/silent.9.sock)
        2 stale sockets (their programs have ended); `lfinspect doctor` names them
        ");
    }

    #[test]
    fn nothing_to_watch_says_what_to_do() {
        let listing = Listing { schema: SCHEMA, processes: vec![], unreachable: vec![] };
        assert!(table(&listing).contains("lfinspect demo"));
    }
}
