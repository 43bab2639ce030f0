//! Aim: one program after another: followed over restarts, reconnected, left for another, and no state wiped by an
//! agent that does not serve.
//! Method: the source itself, against real programs of a name of their own and agents of our own making.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lfalloc_protocol::message::Kind;
use lfinspect::connect::{ANSWER_TIMEOUT, Connection};
use lfinspect::seek::Whom;
use lfinspect::source::following::FollowingSource;
use lfinspect::source::{Source, SourceEvent};
use lfinspect::target::Selector;
use support::fake::{self, Manner};

const PATIENCE: Duration = Duration::from_secs(20);
const SERVE: Manner = Manner::Serve { consistent_from: 1 };

fn open(path: &Path, follow: bool) -> FollowingSource {
    let connection = Connection::open(path, ANSWER_TIMEOUT).unwrap();
    FollowingSource::new(Some(connection), 20.0, follow)
}

/// Polls until `wanted` says yes: all events until then, without the quiet.
#[track_caller]
fn until(source: &mut FollowingSource, wanted: impl Fn(&SourceEvent) -> bool) -> Vec<SourceEvent> {
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    loop {
        let event = source.poll(Duration::from_millis(20));
        let ends = wanted(&event);
        if event != SourceEvent::Quiet {
            events.push(event);
        }
        if ends {
            return events;
        }
        assert!(Instant::now() < deadline, "so far: {events:?}");
    }
}

fn is_state(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Frame(Kind::STATE_END, _))
}

fn is_waiting(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Waiting(_))
}

fn is_gone(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Gone(_))
}

fn is_failed(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Failed(_))
}

/// The greeting among these events, and how many there are.
fn greeting(events: &[SourceEvent]) -> (String, u32, usize) {
    let mut greetings = events.iter().filter_map(|event| match event {
        SourceEvent::Connected(hello) => Some((hello.name.clone(), hello.pid)),
        _ => None,
    });
    let (name, pid) = greetings.next().unwrap_or_else(|| panic!("no greeting: {events:?}"));
    (name, pid, 1 + greetings.count())
}

/// The words of the last event.
fn words(events: &[SourceEvent]) -> &str {
    match events.last().unwrap() {
        SourceEvent::Waiting(words) | SourceEvent::Gone(words) | SourceEvent::Failed(words) => {
            words
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_agent_that_drops_its_viewer_is_reconnected() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = open(&fake::start(folder.path(), "leaving", Manner::Leave), true);
    for _ in 0..3 {
        assert_eq!(greeting(&until(&mut source, is_state)).2, 1);
        let waiting = until(&mut source, is_waiting);
        assert!(words(&waiting).contains("runs on, but its agent was stopped"), "{waiting:?}");
        assert!(words(&waiting).ends_with("waiting for 'leaving' to start again"), "{waiting:?}");
    }
}

#[test]
fn an_agent_that_greets_and_hangs_up_wipes_nothing_and_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = fake::start(folder.path(), "flapping", Manner::Leave);
    let mut source = open(&socket, true);
    until(&mut source, is_waiting);
    // From now on the agent behind that path hangs up.
    fs::remove_file(&socket).unwrap();
    assert_eq!(fake::start(folder.path(), "flapping", Manner::HangUp), socket);
    let mut said = Vec::new();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        said.push(source.poll(Duration::from_millis(20)));
    }
    said.retain(|event| *event != SourceEvent::Quiet);
    assert!(said.iter().all(is_waiting) && said.len() <= 1, "{said:?}");
    // One that serves takes its place.
    fs::remove_file(&socket).unwrap();
    fake::start(folder.path(), "flapping", SERVE);
    assert_eq!(greeting(&until(&mut source, is_state)).2, 1);
}

#[test]
fn who_is_not_followed_stays_gone_until_a_person_asks() {
    let folder = tempfile::tempdir().unwrap();
    let socket = fake::start(folder.path(), "once", Manner::Leave);
    let mut source = open(&socket, false);
    until(&mut source, is_gone);
    for _ in 0..10 {
        assert_eq!(source.poll(Duration::from_millis(20)), SourceEvent::Quiet);
    }
    source.reconnect();
    assert_eq!(greeting(&until(&mut source, is_state)), ("once".into(), std::process::id(), 1));
    until(&mut source, is_gone);
    fs::remove_file(&socket).unwrap();
    source.reconnect();
    let gone = until(&mut source, is_gone);
    assert_eq!(words(&gone), "no program named 'once' shows lfalloc now");
}

#[test]
fn a_live_connection_is_left_for_another_program() {
    let folder = tempfile::tempdir().unwrap();
    let other = fake::start(folder.path(), "other", SERVE);
    let mut source = open(&fake::start(folder.path(), "one", SERVE), false);
    assert_eq!(greeting(&until(&mut source, is_state)).0, "one");
    source.attach(&other);
    assert_eq!(greeting(&until(&mut source, is_state)).0, "other");
    source.attach(&folder.path().join("nobody.1.sock"));
    let failed = until(&mut source, is_failed);
    assert!(words(&failed).contains("lfinspect ls"), "{failed:?}");
    assert_eq!(source.poll(Duration::ZERO), SourceEvent::Quiet);
}

#[test]
fn no_poll_is_longer_than_it_was_told_though_a_look_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let silent = fake::start(folder.path(), "silent", Manner::Silent);
    let mut source = FollowingSource::waiting_for(Whom::Socket(silent), 4.0, false);
    assert!(is_waiting(&source.poll(Duration::ZERO)));
    let start = Instant::now();
    assert_eq!(source.poll(Duration::from_millis(50)), SourceEvent::Quiet);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let failed = until(&mut source, is_failed);
    assert!(words(&failed).contains("did not answer within"), "{failed:?}");
}

#[test]
fn a_name_that_fits_several_is_no_reason_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    // A directory of that name is looked into wherever it lies, as one below a run-time directory is.
    let directory = folder.path().join("lfalloc");
    fs::create_dir(&directory).unwrap();
    let name = format!("twin-{}", std::process::id());
    fake::start(&directory, &name, SERVE);
    let whom = Whom::Selected(Selector::Name(name.clone()));
    let mut source = FollowingSource::waiting_for(whom.clone(), 4.0, false);
    assert_eq!(greeting(&until(&mut source, is_state)).0, name);
    let second = tempfile::tempdir().unwrap();
    let directory = second.path().join("lfalloc");
    fs::create_dir(&directory).unwrap();
    fake::start(&directory, &name, SERVE);
    let mut source = FollowingSource::waiting_for(whom, 4.0, false);
    let failed = until(&mut source, is_failed);
    assert!(words(&failed).starts_with("2 programs fit"), "{failed:?}");
}

#[cfg(feature = "demo")]
mod real {
    use super::*;
    use support::demo_target::DemoTarget;
    use support::private_folder;

    fn start(directory: &Path, name: &str) -> DemoTarget {
        let mut target = DemoTarget::start(directory, &["--pace=20", &format!("--name={name}")]);
        target.go();
        target
    }

    #[test]
    fn a_program_is_followed_over_restarts_and_not_to_one_that_was_there_before() {
        let folder = private_folder();
        let name = format!("follow-{}", std::process::id());
        let older = start(folder.path(), &name);
        let mut first = start(folder.path(), &name);
        let mut source = open(&first.socket, true);
        assert_eq!(greeting(&until(&mut source, is_state)).1, first.pid());
        first.kill();
        let waiting = until(&mut source, is_waiting);
        let ended = format!("pid {} ({name}) has ended; ", first.pid());
        assert!(words(&waiting).starts_with(&ended), "{waiting:?}");
        for _ in 0..60 {
            let event = source.poll(Duration::from_millis(20));
            assert_eq!(event, SourceEvent::Quiet, "pid {} is no successor", older.pid());
        }
        let second = start(folder.path(), &name);
        let events = until(&mut source, is_state);
        assert_eq!(greeting(&events), (name.clone(), second.pid(), 1));
        // The greeting first, then what the system says, then frames.
        assert!(matches!(events[..2], [SourceEvent::Connected(_), SourceEvent::Process { .. }]));
    }

    #[test]
    fn a_program_is_waited_for_by_its_name() {
        let folder = private_folder();
        let name = format!("late-{}", std::process::id());
        let whom = Whom::Selected(Selector::Name(name.clone()));
        let mut source = FollowingSource::waiting_for(whom, 20.0, false);
        let waiting = until(&mut source, is_waiting);
        assert!(words(&waiting).contains(&format!("'{name}'")), "{waiting:?}");
        let target = start(folder.path(), &name);
        assert_eq!(greeting(&until(&mut source, is_state)), (name, target.pid(), 1));
    }
}
