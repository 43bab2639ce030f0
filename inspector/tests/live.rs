//! Aim: the live source tells the whole life of a connection: greeting, process, frames, end.
//! Method: the source itself, against a real program and against an agent of our own making.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use lfinspect::connect::{ANSWER_TIMEOUT, ConnectError, Connection};
use lfinspect::source::live::LiveSource;
use lfinspect::source::{Source, SourceEvent};
use support::fake::{self, Manner};

const PATIENCE: Duration = Duration::from_secs(10);

fn open(path: &Path) -> LiveSource {
    LiveSource::new(Connection::open(path, ANSWER_TIMEOUT).unwrap(), 20.0)
}

/// Polls until `wanted` says yes; that event.
#[track_caller]
fn wait_for(source: &mut LiveSource, wanted: impl Fn(&SourceEvent) -> bool) -> SourceEvent {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = source.poll(Duration::from_millis(20));
        if wanted(&event) {
            return event;
        }
        assert!(!is_gone(&event), "{event:?}");
        assert!(Instant::now() < deadline, "last: {event:?}");
    }
}

fn is_gone(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Gone(_))
}

#[cfg(feature = "demo")]
#[test]
fn a_stopped_program_is_silent_and_a_continued_one_is_not() {
    use support::demo_target::DemoTarget;
    let folder = support::private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--pace=20"]);
    target.go();
    let mut source = open(&target.socket);
    let is_frame = |event: &SourceEvent| matches!(event, SourceEvent::Frame(..));
    wait_for(&mut source, is_frame);
    let pid = target.pid().to_string();
    let signal = |name: &str| {
        assert!(
            std::process::Command::new("kill")
                .args([name, pid.as_str()])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    let said = wait_for(&mut source, |event| matches!(event, SourceEvent::Silent { .. }));
    assert_eq!(said, SourceEvent::Silent { seconds: 2, stopped: true });
    signal("-CONT");
    wait_for(&mut source, is_frame);
}

#[cfg(feature = "demo")]
#[test]
fn a_real_program_is_followed_to_its_end() {
    use lfalloc_protocol::message::Kind;
    use support::demo_target::DemoTarget;
    let folder = support::private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--pace=1", "--rounds=1000000"]);
    let mut source = open(&target.socket);
    let SourceEvent::Connected(hello) = source.poll(PATIENCE) else { panic!("no greeting") };
    assert_eq!(hello.name, "lfalloc-demo");
    assert_eq!(hello.pid, target.pid());
    let process = wait_for(&mut source, |event| matches!(event, SourceEvent::Process { .. }));
    let SourceEvent::Process { pid, rss_bytes } = process else { panic!("{process:?}") };
    assert_eq!(pid, target.pid());
    assert!(rss_bytes.unwrap() > 0);
    let is_kind =
        |kind| move |event: &SourceEvent| matches!(event, SourceEvent::Frame(k, _) if *k == kind);
    wait_for(&mut source, is_kind(Kind::STATE_END));
    target.go();
    wait_for(&mut source, is_kind(Kind::TRANSITIONS));
    source.request_rate(50.0);
    wait_for(&mut source, is_kind(Kind::STATE_BEGIN));
    target.kill();
    let end = wait_for(&mut source, is_gone);
    let words = format!("pid {} (lfalloc-demo) has ended", target.pid());
    assert_eq!(end, SourceEvent::Gone(words));
    assert_eq!(source.poll(Duration::ZERO), SourceEvent::Quiet);
}

#[test]
fn an_agent_that_stops_is_told_from_a_program_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = open(&fake::start(folder.path(), "leaving", Manner::HangUp));
    let SourceEvent::Gone(words) = wait_for(&mut source, is_gone) else { unreachable!() };
    assert!(words.ends_with("runs on, but its agent was stopped"), "{words}");
}

#[test]
fn no_wait_is_longer_than_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut source =
        open(&fake::start(folder.path(), "served", Manner::Serve { consistent_from: 1 }));
    // After the state and the transition of the subscription nothing comes.
    wait_for(&mut source, |event| *event == SourceEvent::Quiet);
    let start = Instant::now();
    assert_eq!(source.poll(Duration::from_millis(50)), SourceEvent::Quiet);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(45), "{waited:?}");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    let path = folder.path().join("nobody.1.sock");
    assert!(matches!(Connection::open(&path, ANSWER_TIMEOUT), Err(ConnectError::Missing)));
}

#[test]
fn a_path_too_long_for_a_socket_is_reached_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let socket = fake::start(folder.path(), "deep", Manner::Serve { consistent_from: 1 });
    // The same socket by a path of more bytes than the system's field holds.
    let mut long = folder.path().to_owned();
    while long.as_os_str().len() < 120 {
        long.push(".");
        long = Path::new(&format!("{}/./", long.display())).to_owned();
    }
    let long = format!("{}/{}", long.display(), socket.file_name().unwrap().display());
    assert!(long.len() > 107);
    let mut connection = Connection::open(Path::new(&long), ANSWER_TIMEOUT).unwrap();
    assert_eq!(connection.state(ANSWER_TIMEOUT).unwrap().states, 1);
}
