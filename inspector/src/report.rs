//! One page of text about one program: what `top --once` prints, and what every command that would
//! open the terminal interface prints where there is no terminal.
//!
//! The page is plain text of at most 100 columns, without colours or escape sequences, so that it
//! may be piped, mailed and compared.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use lfalloc_protocol::message::{
    HeapRecord, Kind, StateEnd, Subscribe, TransitionRecord, cause, state,
};

use crate::connect::{ANSWER_TIMEOUT, ConnectError, Connection};
use crate::format::{
    attempts, bytes, count, duration, instant, percent, rate, signed_count, thousands,
};
use crate::picture::{Applied, ClassFigures, Picture, fraction, hit_fraction, parts_sum};
use crate::process;

/// How long a program is watched for a page: long enough for a rate.
pub(crate) const WATCH: Duration = Duration::from_millis(250);
/// Transitions, classes and heaps on a page.
const LAST_TRANSITIONS: usize = 10;
const WORST_CLASSES: usize = 10;
const MOST_HEAPS: usize = 12;
/// Cells of a full bar.
const BAR_CELLS: i64 = 40;

/// What was seen of a program within a quarter of a second.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The last state.
    pub picture: Picture,
    /// The last transitions, oldest first.
    pub transitions: VecDeque<TransitionRecord>,
    /// Allocations a second.
    pub allocation_rate: Option<f64>,
    /// Frees a second.
    pub free_rate: Option<f64>,
    /// Transitions that were lost before they could be read.
    pub missed: u64,
    /// User of the program.
    pub user: String,
}

impl Watched {
    /// What is known from `picture` alone.
    #[must_use]
    pub fn still(picture: Picture, user: String) -> Self {
        Self {
            picture,
            transitions: VecDeque::new(),
            allocation_rate: None,
            free_rate: None,
            missed: 0,
            user,
        }
    }

    /// Watches the program for a moment.
    ///
    /// # Errors
    /// When the connection ends before the first state.
    pub fn take(connection: &mut Connection) -> Result<Self, ConnectError> {
        let mut picture = Picture::new(connection.hello().clone());
        picture.pid = connection.pid();
        let user = connection.peer_uid().map_or_else(|| "?".to_owned(), process::user_name);
        let mut watched = Self::still(picture, user);
        connection.subscribe(WATCH / 5)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut first: Option<(Instant, u64, StateEnd)> = None;
        loop {
            let until = first.as_ref().map_or(deadline, |(start, ..)| *start + WATCH);
            let left = until.saturating_duration_since(Instant::now());
            match connection.receive(left) {
                Ok(Some((kind, payload))) => match watched.picture.apply(kind, &payload)? {
                    Applied::State if first.is_none() => {
                        let picture = &watched.picture;
                        first = Some((Instant::now(), picture.uptime_ns, picture.end));
                    }
                    Applied::Transitions(more) => watched.remember(more.missed, more.records),
                    _ => {}
                },
                Ok(None) if !left.is_zero() => {}
                Ok(None) if first.is_none() => return Err(ConnectError::NoAnswer(ANSWER_TIMEOUT)),
                // It ended: what was seen is still worth its page.
                Err(error) if first.is_none() => return Err(error),
                Ok(None) | Err(_) => break,
            }
            if left.is_zero() && first.is_some() {
                break;
            }
        }
        // Nothing more is read; should it fail, the connection is closed anyway.
        let _ = connection.send(Kind::SUBSCRIBE, &Subscribe { interval_ms: 0, transitions: false });
        if let Some((_, uptime_ns, then)) = first {
            watched.set_rates(uptime_ns, &then);
        }
        watched.picture.rss_bytes = connection.peer_pid().and_then(process::rss_bytes);
        Ok(watched)
    }

    /// Adds transitions, of which the last few are kept.
    pub(crate) fn remember(&mut self, missed: u64, records: Vec<TransitionRecord>) {
        self.missed = self.missed.saturating_add(missed);
        self.transitions.extend(records);
        let surplus = self.transitions.len().saturating_sub(LAST_TRANSITIONS);
        self.transitions.drain(..surplus);
    }

    /// The rates since a state that ended with `then`, of the time `uptime_ns`.
    pub(crate) fn set_rates(&mut self, uptime_ns: u64, then: &StateEnd) {
        let seconds = self.picture.uptime_ns.saturating_sub(uptime_ns) as f64 / 1e9;
        if seconds > 0.0 {
            let per_second = |now: u64, then: u64| Some(now.wrapping_sub(then) as f64 / seconds);
            let now = &self.picture.end;
            self.allocation_rate = per_second(now.allocations_after, then.allocations_after);
            self.free_rate = per_second(now.frees_after, then.frees_after);
        }
    }

    /// The page.
    #[must_use]
    pub fn page(&self, ascii: bool) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_page(&mut page, ascii);
        page
    }

    fn write_page(&self, page: &mut String, ascii: bool) -> fmt::Result {
        self.write_header(page)?;
        self.write_parts(page, ascii)?;
        self.write_front(page)?;
        self.write_states(page)?;
        self.write_classes(page)?;
        self.write_heaps(page)?;
        self.write_transitions(page)
    }

    fn write_header(&self, page: &mut String) -> fmt::Result {
        let Picture { hello, end, .. } = &self.picture;
        writeln!(
            page,
            "{}  pid {}  user {}  up {}  lfalloc {}  protocol {}.{}",
            hello.name,
            self.picture.pid,
            self.user,
            duration(self.picture.uptime_ns),
            hello.allocator_version,
            hello.major,
            hello.minor
        )?;
        let rss = self.picture.rss_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        writeln!(
            page,
            "RSS {}  mapped {}  live {} ({})  EXT {}  waste {}",
            rss.map_or_else(|| "-".to_owned(), bytes),
            bytes(self.picture.parts.mapped),
            bytes(self.picture.live_bytes()),
            percent(self.picture.live_fraction()),
            percent(self.picture.external_fraction()),
            percent(self.picture.waste_fraction()),
        )?;
        writeln!(
            page,
            "allocations {} ({}/s)  frees {} ({}/s)  CAS retries {}  in hand {}",
            thousands(end.allocations_after),
            rate(self.allocation_rate),
            thousands(end.frees_after),
            rate(self.free_rate),
            thousands(self.picture.retries()),
            end.in_hand,
        )?;
        if !end.consistent {
            writeln!(
                page,
                "not one instant: the program went on while it was read, or held something in hand ({})",
                attempts(end.attempts)
            )?;
        }
        Ok(())
    }

    fn write_parts(&self, page: &mut String, ascii: bool) -> fmt::Result {
        let parts = &self.picture.parts;
        writeln!(page, "\nWHERE THE MAPPED BYTES ARE")?;
        for (name, part) in [
            ("live", parts.live),
            ("large", parts.large),
            ("free", parts.free),
            ("credits", parts.credit),
            ("cached", parts.cached),
            ("EMPTY kept", parts.empty),
            ("large cached", parts.large_cached),
            ("tail", parts.tail),
            ("unused", parts.unused),
            ("metadata", parts.metadata),
        ] {
            let share = fraction(part, parts.mapped);
            let line = format!(
                "  {name:<13}{:>10}  {:>6}  {}",
                bytes(part),
                percent(share),
                bar(part, parts.mapped, ascii)
            );
            writeln!(page, "{}", line.trim_end())?;
        }
        let balance = match self.picture.books_balance() {
            Some(0) => "= mapped".to_owned(),
            Some(difference) if self.picture.end.consistent => {
                format!("mapped is {} more: THE BOOKS DO NOT BALANCE", bytes(difference))
            }
            Some(difference) => format!("mapped is {} more, meanwhile", bytes(difference)),
            None => "nothing was read yet".to_owned(),
        };
        writeln!(page, "  {:<13}{:>10}  {balance}", "sum", bytes(parts_sum(parts)))
    }

    fn write_front(&self, page: &mut String) -> fmt::Result {
        writeln!(page, "\nMAGAZINES AND DEPOT")?;
        let Some(front) = self.picture.front_figures() else {
            let why = self.picture.front_is().why_not().unwrap_or("nothing was read yet");
            return writeln!(page, "  {why}");
        };
        writeln!(
            page,
            "  hit rate {} ever, of {} pops  refills {}  flushes {}  aborts {}",
            percent(hit_fraction(front.pops as f64, front.refills as f64)),
            count(front.pops),
            count(front.refills),
            count(front.flushes),
            count(front.aborts)
        )?;
        writeln!(
            page,
            "  cached {} of at most {}:",
            bytes(front.bytes()),
            bytes(front.most_bytes())
        )?;
        let processors = if front.processors == 1 { "processor" } else { "processors" };
        writeln!(
            page,
            "    magazines {}, at most {} for each of {} {processors}; depot {} of {}",
            bytes(front.magazine_bytes),
            bytes(front.processor_most_bytes),
            front.processors,
            bytes(front.depot_bytes),
            bytes(front.depot_most_bytes)
        )
    }

    fn write_states(&self, page: &mut String) -> fmt::Result {
        let [active, full, partial, empty] = self.picture.superblocks_by_state().map(thousands);
        writeln!(page, "\nSUPERBLOCKS")?;
        writeln!(page, "  ACTIVE {active}  FULL {full}  PARTIAL {partial}  EMPTY {empty}")
    }

    fn write_classes(&self, page: &mut String) -> fmt::Result {
        let mut classes: Vec<ClassFigures> = self
            .picture
            .figures()
            .filter(|class| class.superblocks() > 0 || class.record.empty > 0)
            .collect();
        classes.sort_by_key(|class| std::cmp::Reverse(class.waste_bytes()));
        let shown = classes.len().min(WORST_CLASSES);
        writeln!(page, "\nWORST CLASSES BY WASTE ({shown} of {} in use)", classes.len())?;
        writeln!(
            page,
            "  {:>5} {:>7} {:>10} {:>7} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>10}",
            "CLASS",
            "BLOCK",
            "SUPERBLOCK",
            "ACTIVE",
            "FULL",
            "PARTIAL",
            "EMPTY",
            "LIVE",
            "USED",
            "EXT%",
            "WASTE"
        )?;
        for class in &classes[..shown] {
            let record = &class.record;
            writeln!(
                page,
                "  {:>5} {:>7} {:>10} {:>7} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>10}",
                record.class,
                class.info.block_bytes,
                bytes(i64::from(class.info.superblock_bytes)),
                record.active,
                record.full,
                record.partial,
                record.empty,
                signed_count(record.live_blocks),
                percent(class.utilisation()),
                percent(class.external_fraction()),
                bytes(class.waste_bytes()),
            )?;
        }
        Ok(())
    }

    fn write_heaps(&self, page: &mut String) -> fmt::Result {
        let classes = &self.picture.hello.classes;
        let reserved_bytes = |heap: &HeapRecord| {
            let info = classes.get(usize::from(heap.class));
            let block_bytes = info.map_or(0, |info| i64::from(info.block_bytes));
            i64::from(heap.credits).saturating_mul(block_bytes)
        };
        let mut heaps = self.picture.heaps.clone();
        heaps.sort_by_key(|heap| std::cmp::Reverse(reserved_bytes(heap)));
        writeln!(
            page,
            "\nHEAPS BY BYTES RESERVED ({} with an active superblock, {} reserved)",
            heaps.len(),
            bytes(heaps.iter().map(reserved_bytes).fold(0, i64::saturating_add))
        )?;
        for heap in heaps.iter().take(MOST_HEAPS) {
            writeln!(
                page,
                "  class {:>3}  heap {:>3}  superblock {:>6}  credits {:>5}  {:>9}",
                heap.class,
                heap.heap,
                heap.superblock,
                heap.credits,
                bytes(reserved_bytes(heap))
            )?;
        }
        if heaps.len() > MOST_HEAPS {
            writeln!(page, "  and {} more", heaps.len() - MOST_HEAPS)?;
        }
        Ok(())
    }

    fn write_transitions(&self, page: &mut String) -> fmt::Result {
        let end = &self.picture.end;
        writeln!(
            page,
            "\nTRANSITIONS ({} ever, {} dropped; the last ones while watching, {} missed)",
            thousands(end.transitions_seen),
            thousands(end.transitions_dropped),
            thousands(self.missed)
        )?;
        for record in &self.transitions {
            writeln!(page, "  {}", transition(record))?;
        }
        Ok(())
    }
}

/// One transition as a line.
#[must_use]
pub fn transition(record: &TransitionRecord) -> String {
    let line = format!(
        "{:>14}  superblock {:>5}  class {:>3}  {:<7} > {:<7}  tag {:>6}  {} {}",
        instant(record.uptime_ns),
        record.superblock,
        record.class,
        state::name(record.from),
        state::name(record.to),
        record.tag,
        cause::name(record.cause),
        cause::paragraph(record.cause),
    );
    line.trim_end().to_owned()
}

/// A bar of `part` in `whole`; nothing where the share is not between 0 and 1.
fn bar(part: i64, whole: i64, ascii: bool) -> String {
    if part <= 0 || part > whole {
        return String::new();
    }
    let cells = i128::from(part) * i128::from(BAR_CELLS) / i128::from(whole);
    let cell = if ascii { "#" } else { "█" };
    cell.repeat(usize::try_from(cells).unwrap_or_default())
}

#[cfg(test)]
mod tests;
