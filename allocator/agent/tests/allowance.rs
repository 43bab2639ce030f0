//! Aim: no crowd of clients makes the agent use more than its part of the processors' time, and whoever is served goes on being
//! served. Method: an agent that was started where one processor may be used, clients that reconnect and ask without end, and the
//! system's record of the agent's thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Fixture, agent_task};
use lfalloc_protocol::encode_frame;
use lfalloc_protocol::message::{ClientHello, Kind, MAGIC, MAJOR, MINOR, StateRequest};

/// Lets the calling thread, and those that it starts, use the first `count` of the processors in `all`.
fn use_processors(all: &libc::cpu_set_t, count: usize) {
    // SAFETY: a set of no processors is all zeros.
    let mut some: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialised and the numbers lie within it.
    let is_in = |number: &usize| unsafe { libc::CPU_ISSET(*number, all) };
    for number in (0..libc::CPU_SETSIZE as usize).filter(is_in).take(count) {
        // SAFETY: the set is initialised and the number lies within it.
        unsafe { libc::CPU_SET(number, &mut some) };
    }
    // SAFETY: the pointer and the size are those of one set.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&some), &raw const some) };
    assert_eq!(result, 0);
}

fn processors() -> libc::cpu_set_t {
    // SAFETY: a set of no processors is all zeros.
    let mut all: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size are those of one set.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&all), &raw mut all) };
    assert_eq!(result, 0);
    all
}

/// Processor time that the agent has used.
fn used() -> Duration {
    let record = fs::read_to_string(agent_task().join("schedstat")).unwrap();
    Duration::from_nanos(record.split_whitespace().next().unwrap().parse().unwrap())
}

/// A greeting, and many requests behind it.
fn requests() -> Vec<u8> {
    let mut bytes = vec![0; 100_000];
    let hello =
        ClientHello { magic: MAGIC, major: MAJOR, minor: MINOR, client: "crowd".to_owned() };
    let mut end = encode_frame(Kind::CLIENT_HELLO, &hello, &mut bytes).unwrap();
    for _ in 0..1000 {
        end += encode_frame(Kind::STATE_REQUEST, &StateRequest {}, &mut bytes[end..]).unwrap();
    }
    bytes.truncate(end);
    bytes
}

fn besiege(socket: &Path, reads: bool, over: &AtomicBool) {
    let requests = requests();
    let mut answer = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // What the agent makes of it does not matter.
        let _ = stream.write_all(&requests);
        while reads
            && !over.load(Ordering::Relaxed)
            && stream.read(&mut answer).is_ok_and(|n| n > 0)
        {}
    }
}

#[test]
fn a_crowd_gets_no_more_than_a_part_of_the_processors() {
    let all = processors();
    use_processors(&all, 1);
    let fixture = Fixture::start();
    use_processors(&all, usize::MAX);
    let mut viewer = fixture.attach();
    viewer.subscribe(50, false);
    assert!(viewer.state().begin.full);

    let over = AtomicBool::new(false);
    let (used, passed, updates) = std::thread::scope(|scope| {
        for number in 0..6 {
            let (socket, over) = (fixture.agent.socket_path(), &over);
            scope.spawn(move || besiege(socket, number % 2 == 0, over));
        }
        let (start, before) = (Instant::now(), used());
        let mut updates = 0;
        while start.elapsed() < Duration::from_secs(3) {
            viewer.state();
            updates += 1;
        }
        over.store(true, Ordering::Relaxed);
        (used().saturating_sub(before), start.elapsed(), updates)
    });
    // A sixty-fourth, what was saved before, and one round.
    let most = passed / 64 + Duration::from_millis(4) + Duration::from_millis(40);
    assert!(used <= most, "{used:?} of {passed:?}");
    assert!(updates > 1);
}
