//! What is done with an operation: five kinds of runs, each in a process of its own.
//!
//! | run           | what happens                                                                                          |
//! |---------------|-------------------------------------------------------------------------------------------------------|
//! | control       | stepped, and nobody disturbs: the way that the call takes, and what the figures are at the end         |
//! | frozen        | a battery at every instruction outside of sequences, then on to the next; *through* and *interrupted*  |
//! | frozen within | a battery at an instruction within a sequence; the victim then goes on and finishes                    |
//! | killed        | a battery at an instruction, exit(2) there, a battery; then everything is freed and purged             |
//! | summed up     | many die in one process, each at another step                                                          |
//!
//! An instruction that comes again and again is frozen at its first, second, fourth, eighth … time, and killed at its first.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::image;
use super::operation::{Bound, OPERATIONS, Operation};
use super::processors;
use super::session::{Battery, Failure, Library, Session, Setting};
use super::trace::{Next, Way};
use super::wire::Totals;

/// How much of it is done: everything, or a sample.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Of so many places to freeze at, one.
    pub freeze_each: usize,
    /// Of so many places to kill at, one.
    pub kill_each: usize,
    /// Victims that die in one process.
    pub deaths: u64,
}

/// Tries to come to a place again: a thread that is preempted on the way takes another one.
const TRIES: u32 = 4;
/// So many places, and of a thousand so many, may be missed: a way can depend on the time.
const MISSED: u64 = 2;
const MISSED_OF_1000: u64 = 20;

/// What was found of an operation.
#[derive(Debug, Default)]
pub struct Row {
    /// Instructions of the library that it executes, whichever way it takes,
    pub instructions: usize,
    /// and those of them that lie in restartable sequences.
    pub in_sequences: usize,
    /// How often the victim was frozen,
    pub frozen: u64,
    /// and killed.
    pub killed: u64,
    /// Places that it did not come to again.
    pub missed: u64,
    /// Calls that the survivors made meanwhile.
    pub calls: u64,
    /// Of the survivors' batteries, the longest.
    pub longest: Duration,
    /// Bytes that stay mapped after a death, at most, and where the victim died,
    pub stranded: (i64, String),
    /// and what they may be.
    pub bound: u64,
    /// What counts as in hand then, at most.
    pub in_hand: i64,
    /// What one death of many in one process strands, on an average.
    pub average: i64,
    /// What is wrong.
    pub findings: Vec<String>,
}

impl Row {
    fn add(&mut self, battery: Battery) {
        self.calls += battery.calls;
        self.longest = self.longest.max(battery.took);
    }

    fn find(&mut self, run: &str, failure: &Failure) {
        self.findings.push(format!("{run}: {failure}"));
    }
}

/// A place where the victim is to be frozen or killed.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Relative to the library.
    offset: u64,
    in_sequence: bool,
    /// The way on which it was seen.
    way: Way,
}

/// What an undisturbed walk shows.
struct Control {
    places: Vec<Place>,
    steps: u64,
    totals: Totals,
}

struct Examination<'a> {
    setting: &'a Setting,
    library: &'a image::Library,
    number: usize,
    operation: &'static Operation,
    calls_before: u64,
    extent: Extent,
}

/// What is more than before.
fn more(now: u64, before: u64) -> i64 {
    now.wrapping_sub(before).cast_signed()
}

/// Freezes and kills threads in an operation, by its number in [`OPERATIONS`].
#[must_use]
pub fn examine(setting: &Setting, number: usize, extent: Extent) -> Row {
    let operation = &OPERATIONS[number];
    let mut row = Row { bound: operation.bound.bytes, ..Row::default() };
    let library = setting.library.path().and_then(|path| image::Library::at(&path));
    let done = library.map_err(Failure::Wrong).and_then(|library| {
        let calls_before = 0;
        let mut examination =
            Examination { setting, library: &library, number, operation, calls_before, extent };
        examination.all(&mut row)
    });
    if let Err(failure) = done {
        row.find("at the beginning", &failure);
    }
    let places = row.frozen + row.missed;
    if row.missed > MISSED && row.missed * 1000 > places * MISSED_OF_1000 {
        row.findings.push(format!("{} of {places} places were missed", row.missed));
    }
    row
}

impl<'a> Examination<'a> {
    fn is_own(&self) -> bool {
        matches!(self.setting.library, Library::Own(_))
    }

    /// Whether nothing more is to be looked for: another allocator that stops everybody does so again and again.
    fn is_enough(&self, row: &Row) -> bool {
        !self.is_own() && !row.findings.is_empty()
    }

    fn session(&self) -> Result<Session<'a>, Failure> {
        let session =
            Session::start(self.setting, self.library, self.number, Some(self.calls_before))?;
        session.prepare(self.operation.is_first)?;
        Ok(session)
    }

    fn all(&mut self, row: &mut Row) -> Result<(), Failure> {
        if let (Some(function), true) = (self.operation.leads_to, self.is_own()) {
            let session = Session::start(self.setting, self.library, self.number, None)?;
            let found = session.find_call(self.operation.is_first, function)?;
            let missing = || Failure::Wrong(format!("no call leads to {function}"));
            self.calls_before = found.ok_or_else(missing)?;
        }
        let through = self.control(Way::Through, row)?;
        let interrupted = self.control(Way::Interrupted, row)?;
        let mut places: BTreeMap<u64, Place> = BTreeMap::new();
        for place in through.places.iter().chain(&interrupted.places) {
            places.entry(place.offset).or_insert(*place);
        }
        row.instructions = places.len();
        row.in_sequences = places.values().filter(|place| place.in_sequence).count();
        for (way, totals) in
            [(Way::Through, through.totals), (Way::Interrupted, interrupted.totals)]
        {
            if let Err(failure) = self.frozen(way, totals, row) {
                row.find(&format!("frozen, {way:?}"), &failure);
            }
        }
        for place in places.values().filter(|place| place.in_sequence) {
            if self.is_enough(row) {
                return Ok(());
            }
            if let Err(failure) = self.frozen_within(*place, through.totals, row) {
                row.find("frozen within a sequence", &failure);
            }
        }
        for place in places.values().step_by(self.extent.kill_each) {
            if self.is_enough(row) {
                return Ok(());
            }
            if let Err(failure) = self.killed(*place, through.totals, row) {
                row.find("killed", &failure);
            }
        }
        let may_die = self.extent.deaths > 0 && !self.operation.is_first && !self.is_enough(row);
        if may_die && let Err(failure) = self.summed_up(&through, row) {
            row.find("summed up", &failure);
        }
        Ok(())
    }

    fn control(&self, way: Way, row: &mut Row) -> Result<Control, Failure> {
        let session = self.session()?;
        let (mut places, mut steps) = (Vec::new(), 0);
        let image = &session.image;
        session.walk(way, |step| {
            steps += 1;
            if step.visits == 1 {
                let in_sequence = step.sequence.is_some();
                places.push(Place { offset: image.offset(step.address), in_sequence, way });
                if self.is_own() && way == Way::Through {
                    let wrong =
                        self.operation.not_to.iter().find(|name| image.is_in(step.address, name));
                    row.findings.extend(wrong.map(|name| format!("the call comes to {name}")));
                }
            }
            Ok(Next::Step)
        })?;
        session.finish(true)?;
        session.battery()?;
        Ok(Control { places, steps, totals: session.settle()? })
    }

    /// Frozen wherever it comes to outside of sequences, on one walk.
    fn frozen(&self, way: Way, settled: Totals, row: &mut Row) -> Result<(), Failure> {
        let session = self.session()?;
        let mut failure = None;
        let mut count = 0_usize;
        let walked = session.walk(way, |step| {
            if !step.visits.is_power_of_two() || step.sequence.is_some() {
                return Ok(Next::Step);
            }
            count += 1;
            if !count.is_multiple_of(self.extent.freeze_each) {
                return Ok(Next::Step);
            }
            row.frozen += 1;
            match session.battery() {
                Ok(battery) => row.add(battery),
                Err(error) => {
                    failure = Some(at(&session, step.address, error));
                    return Ok(Next::Leave);
                }
            }
            Ok(Next::Step)
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        walked?;
        session.finish(true)?;
        session.battery()?;
        self.expect_nothing_lost(&session, settled)
    }

    /// A victim that has finished strands nothing.
    fn expect_nothing_lost(&self, session: &Session, settled: Totals) -> Result<(), Failure> {
        let totals = session.settle()?;
        let changed = |now: Totals| (now.kept_bytes, now.live_bytes, now.in_hand);
        if self.is_own() && changed(totals) != changed(settled) {
            let what = format!("the victim finished, but {totals:?} are not {settled:?}");
            return Err(Failure::Wrong(what));
        }
        Ok(())
    }

    /// Frozen within a sequence; then it goes on by itself.
    fn frozen_within(&self, place: Place, settled: Totals, row: &mut Row) -> Result<(), Failure> {
        let Some(session) = self.at_place(place)? else {
            row.missed += 1;
            return Ok(());
        };
        let address = session.image.address(place.offset);
        row.frozen += 1;
        row.add(session.battery().map_err(|failure| at(&session, address, failure))?);
        session.finish(false)?;
        session.battery()?;
        self.expect_nothing_lost(&session, settled)
            .map_err(|failure| at(&session, address, failure))
    }

    /// A target whose victim stands at a place, as a thread that was stopped there.
    fn at_place(&self, place: Place) -> Result<Option<Session<'a>>, Failure> {
        for _ in 0..TRIES {
            let session = self.session()?;
            let address = session.image.address(place.offset);
            let mut is_there = false;
            if place.way == Way::Through {
                is_there = session.victim.go_to(&[address])?;
            } else {
                session.walk(place.way, |step| {
                    is_there = step.address == address;
                    Ok(if is_there { Next::Leave } else { Next::Step })
                })?;
            }
            if is_there {
                return Ok(Some(session));
            }
        }
        Ok(None)
    }

    fn killed(&self, place: Place, settled: Totals, row: &mut Row) -> Result<(), Failure> {
        let Some(session) = self.at_place(place)? else {
            row.missed += 1;
            return Ok(());
        };
        let address = session.image.address(place.offset);
        die(&session, row)
            .and_then(|totals| self.account(&session, address, totals, settled, row))
            .map_err(|failure| at(&session, address, failure))
    }

    /// What a death has stranded stays within the bound, and counts as in hand.
    fn account(
        &self,
        session: &Session,
        address: u64,
        totals: Totals,
        settled: Totals,
        row: &mut Row,
    ) -> Result<(), Failure> {
        let stranded = more(totals.kept_bytes, settled.kept_bytes);
        let in_hand = more(totals.in_hand, settled.in_hand);
        if stranded > row.stranded.0 {
            row.stranded = (stranded, session.image.place(address));
        }
        row.in_hand = row.in_hand.max(in_hand);
        let Bound { bytes, own_bytes } = self.operation.bound;
        // Who dies before there are magazines may have mapped them.
        let unmade = if self.operation.is_first { processors::magazines_bytes() } else { 0 };
        let most = unmade + if in_hand > 0 { bytes } else { own_bytes };
        if self.is_own() && stranded > most as i64 {
            return Err(Failure::Wrong(format!(
                "{stranded} bytes stay, with {in_hand} in hand: more than {most}"
            )));
        }
        Ok(())
    }

    /// Many die in one process: each at another step, as long as there are as many.
    fn summed_up(&self, control: &Control, row: &mut Row) -> Result<(), Failure> {
        let mut session = self.session()?;
        for death in 0..self.extent.deaths {
            if death > 0 {
                // Everything is as it was for the first, but for what the dead took with them.
                session.settle()?;
                session.replace_victim()?;
                session.begin()?;
                session.come_to_call()?;
            }
            let last = control.steps * death / self.extent.deaths;
            let mut step = 0;
            session.walk(Way::Through, |_| {
                step += 1;
                Ok(if step > last { Next::Leave } else { Next::Step })
            })?;
            // (One that has finished in fewer steps dies behind its call.)
            row.killed += 1;
            row.frozen += 1;
            session.victim.kill()?;
            row.add(session.battery()?);
        }
        let totals = session.settle()?;
        let stranded = more(totals.kept_bytes, control.totals.kept_bytes);
        row.average = stranded / self.extent.deaths.cast_signed();
        let most = self.operation.bound.bytes * self.extent.deaths;
        if self.is_own() && stranded > most as i64 {
            return Err(Failure::Wrong(format!("{stranded} bytes stay, more than {most}")));
        }
        Ok(())
    }
}

/// The victim dies where it stands; the figures afterwards.
fn die(session: &Session, row: &mut Row) -> Result<Totals, Failure> {
    row.frozen += 1;
    row.add(session.battery()?);
    session.victim.kill()?;
    row.killed += 1;
    row.add(session.battery()?);
    session.settle()
}

/// A failure with the place where the victim stood.
fn at(session: &Session, address: u64, failure: Failure) -> Failure {
    let place = session.image.place(address);
    match failure {
        Failure::Blocked(what) => Failure::Blocked(format!("{what}; the victim stood at {place}")),
        Failure::Wrong(what) => Failure::Wrong(format!("{what}; the victim stood at {place}")),
        Failure::Io(error) => {
            Failure::Io(io::Error::other(format!("{error}; the victim stood at {place}")))
        }
    }
}
