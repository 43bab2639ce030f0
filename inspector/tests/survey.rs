//! Aim: the survey behind the list of programs: figures that move, programs that come, stand still and end, and none
//! that delays another.
//! Method: rounds over real programs and agents of our own making.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use lfalloc_protocol::socket::parse_socket_file_name;
use lfinspect::discover::Candidate;
use lfinspect::survey::{Standing, Survey, Surveyor};
use support::fake::{self, LARGE_BYTES, Manner};

const PATIENCE: Duration = Duration::from_secs(20);
/// Many times what a round may take.
const ROUND: Duration = Duration::from_secs(4);
const SERVE: Manner = Manner::Serve { consistent_from: 1 };

fn candidate(path: &Path) -> Candidate {
    let name = parse_socket_file_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
    Candidate { path: path.to_owned(), name }
}

/// Goes round until `wanted` says yes; that survey.
#[track_caller]
fn until(
    surveyor: &mut Surveyor,
    candidates: &[Candidate],
    wanted: impl Fn(&Survey) -> bool,
) -> Survey {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let survey = surveyor.round_of(candidates.to_vec());
        if wanted(&survey) {
            return survey;
        }
        assert!(Instant::now() < deadline, "{survey:?}");
    }
}

#[test]
fn a_program_shows_its_state_and_then_its_totals() {
    let folder = tempfile::tempdir().unwrap();
    let socket = fake::start(folder.path(), "served", SERVE);
    let candidates = [candidate(&socket)];
    let mut surveyor = Surveyor::new();
    let live = 4 * 8192 + LARGE_BYTES;
    let survey = until(&mut surveyor, &candidates, |survey| {
        survey.programs.first().is_some_and(|program| program.row.live_bytes == 2 * live)
    });
    let program = &survey.programs[0];
    assert_eq!((program.row.name.as_str(), program.row.uptime_ms), ("served", 62_000));
    assert_eq!(program.row.external_fraction, Some(0.5), "of the state");
    assert_eq!((program.path.as_path(), program.standing), (socket.as_path(), Standing::Answers));
    assert_eq!(program.trend, [live, 2 * live]);
    assert_eq!(program.growth, Some(live as f64), "in the second between them");
    assert!(survey.unreachable.is_empty() && !survey.is_waiting);
    let mut again = surveyor.round_of(candidates.to_vec());
    // The agent's process is the test's own, and has other tests in it.
    again.programs[0].row.rss_bytes = program.row.rss_bytes;
    assert_eq!(again, survey, "where nothing moves nothing changes");
}

#[test]
fn those_that_do_not_serve_are_told_with_their_reason_and_delay_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let silent = fake::start(folder.path(), "silent", Manner::Silent);
    let busy = fake::start(folder.path(), "busy", Manner::Busy);
    let stale = folder.path().join("stale.4000001.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let served = fake::start(folder.path(), "served", SERVE);
    let candidates = [&silent, &busy, &stale, &served].map(|path| candidate(path));
    let mut surveyor = Surveyor::new();
    let first = until(&mut surveyor, &candidates, |survey| !survey.programs.is_empty());
    assert!(first.is_waiting, "{first:?}");
    let survey = until(&mut surveyor, &candidates, |survey| !survey.is_waiting);
    assert_eq!(survey.programs.len(), 1);
    let reason = |name: &str| {
        let mut all = survey.unreachable.iter().map(|(_, socket)| socket);
        let socket = all.find(|socket| socket.name == name).unwrap();
        (socket.reason.clone(), socket.stale)
    };
    assert_eq!(reason("silent"), ("no answer within 1.0 s".to_owned(), false));
    assert_eq!(reason("busy"), ("all places for viewers are taken".to_owned(), false));
    assert!(reason("stale").1);
    // What was reached before a socket was gone is forgotten with it.
    let survey = until(&mut surveyor, &[], |survey| survey.unreachable.is_empty());
    assert_eq!(survey.programs.len(), 1, "a connection that stands does not need its socket");
}

#[test]
fn one_that_does_not_stop_talking_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    // Before the other in every round.
    let babbling = fake::start(folder.path(), "a-babbling", Manner::Babble);
    let served = fake::start(folder.path(), "served", SERVE);
    let candidates = [&babbling, &served].map(|path| candidate(path));
    let (sender, surveys) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut surveyor = Surveyor::new();
        while sender.send(surveyor.round_of(candidates.to_vec())).is_ok() {}
    });
    let deadline = Instant::now() + PATIENCE;
    loop {
        let survey = surveys.recv_timeout(ROUND).expect("a round has an end");
        if survey.programs.len() == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{survey:?}");
    }
    assert_eq!(surveys.recv_timeout(ROUND).map(|survey| survey.programs.len()), Ok(2));
}

#[cfg(feature = "demo")]
#[test]
fn a_program_that_stands_still_or_ends_is_marked_and_goes() {
    use support::demo_target::DemoTarget;
    let folder = support::private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--pace=20"]);
    target.go();
    let candidates = [candidate(&target.socket)];
    let mut surveyor = Surveyor::new();
    let stands = |standing: Standing| {
        move |survey: &Survey| survey.programs.first().is_some_and(|p| p.standing == standing)
    };
    let survey = until(&mut surveyor, &candidates, stands(Standing::Answers));
    let id = survey.programs[0].id;
    assert_eq!(survey.programs[0].row.pid, target.pid());
    let signal = |name: &str| {
        let pid = target.pid().to_string();
        let sent = std::process::Command::new("kill").args([name, &pid]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    until(&mut surveyor, &candidates, stands(Standing::Silent));
    signal("-CONT");
    until(&mut surveyor, &candidates, stands(Standing::Answers));
    target.kill();
    let survey = until(&mut surveyor, &candidates, stands(Standing::Ended));
    assert_eq!(survey.programs[0].id, id);
    let survey = until(&mut surveyor, &candidates, |survey| {
        survey.unreachable.first().is_some_and(|(_, socket)| socket.stale)
    });
    assert_eq!(survey.programs, []);
}

#[test]
#[cfg(feature = "demo")]
fn descendants_are_told_with_the_way_up() {
    use support::demo_target::DemoTarget;
    let folder = support::private_folder();
    let target = DemoTarget::start(folder.path(), &["--name=descendant"]);
    let (own, candidates) = (std::process::id(), [candidate(&target.socket)]);
    for (root, ancestors) in [(Some(own), vec![own]), (Some(target.pid()), vec![]), (None, vec![])]
    {
        let mut surveyor = Surveyor::below(root);
        let survey = until(&mut surveyor, &candidates, |survey| !survey.programs.is_empty());
        assert_eq!(survey.programs[0].ancestors, ancestors, "{root:?}");
    }
}
