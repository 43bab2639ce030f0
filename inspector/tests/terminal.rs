//! Aim: on a terminal the interface starts, shows a live program, and gives the terminal back.
//! Method: the real binary in a pseudo-terminal.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, PtyPair, PtySize, native_pty_system};
use support::demo_target::DemoTarget;
use support::private_folder;
use support::screen::{ENTER_SCREEN, LEAVE_SCREEN, PATIENCE, SHOW_CURSOR, Screen};
use tempfile::TempDir;

#[test]
fn demo_shows_the_program_and_gives_the_terminal_back() {
    let mut screen = Screen::start(120, 36, &["demo", "--pace", "20"]);
    screen.wait_for(ENTER_SCREEN);
    screen.wait_for("lfalloc-demo");
    assert!(!screen.is_cooked());
    screen.press("q");
    screen.assert_ends_restored();
}

/// The bytes that `text` in base64 stands for.
fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|&digit| digit != b'=');
    let places = digits.map(|digit| DIGITS.iter().position(|&d| d == digit).unwrap() as u32);
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for place in places {
        (bits, count) = (bits << 6 | place, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn copying_reaches_the_clipboard_of_the_terminal_and_upsets_nothing() {
    let mut screen = Screen::start(120, 36, &["demo", "--pace", "20"]);
    screen.wait_for("Where the mapped bytes are");
    screen.press("y");
    screen.wait_for("\u{1b}]52;c;");
    screen.wait_for("copied: mapped: ");
    let (_, sequence) = screen.seen.split_once("\u{1b}]52;c;").unwrap();
    // Ended by ST or BEL, and nothing of it is drawn.
    let (encoded, _) = sequence.split_once(['\u{1b}', '\u{7}']).unwrap();
    let text = String::from_utf8(from_base64(encoded)).unwrap();
    let bytes = text.strip_prefix("mapped: ").and_then(|text| text.strip_suffix(" B"));
    assert!(bytes.is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|b| b > 0)), "{text}");
    // The next key takes the notice away, and everything goes on.
    let mark = screen.seen.len();
    screen.press("2");
    screen.wait_for("Classes: ");
    assert!(!screen.seen[mark..].contains("]52;"), "copied once");
    screen.press("q");
    screen.assert_ends_restored();
}

#[test]
fn a_terminal_that_answers_no_questions_is_no_obstacle() {
    let mut screen = Screen::start(80, 24, &["demo", "--pace", "20"]);
    screen.answers = false;
    screen.wait_for("lfalloc-demo");
    // Ctrl-L draws every cell again.
    screen.press("\u{c}");
    screen.read_for(Duration::from_millis(300));
    screen.press("q");
    screen.assert_ends_restored();
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let mut screen = Screen::start(80, 24, &["demo", "--pace", "20"]);
    screen.wait_for("lfalloc-demo");
    let pid = screen.child.process_id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    screen.wait_for(LEAVE_SCREEN);
    screen.wait_for(SHOW_CURSOR);
    assert!(!screen.child.wait().unwrap().success());
    assert!(screen.is_cooked(), "the terminal was left raw");
}

/// `demo` on a pseudo-terminal that nobody reads but the test itself.
fn start_unread(folder: &TempDir) -> (PtyPair, Box<dyn Child + Send + Sync>) {
    let size = PtySize { rows: 36, cols: 120, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_lfinspect"));
    command.args(["demo", "--pace", "1", "--rate", "50"]);
    command.env("LFALLOC_DIR", folder.path());
    command.env("TERM", "xterm-256color");
    let child = pair.slave.spawn_command(command).unwrap();
    (pair, child)
}

fn wait_for_end(child: &mut Box<dyn Child + Send + Sync>) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_window_that_is_closed_is_no_crash() {
    for _ in 0..5 {
        let folder = private_folder();
        let (pair, mut child) = start_unread(&folder);
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains("lfalloc-demo") {
            let read = reader.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "it ended by itself");
            seen.extend_from_slice(&buffer[..read]);
        }
        // The last descriptors of the terminal: standard error hangs up with the rest.
        drop((reader, pair.master));
        let status = wait_for_end(&mut child);
        assert_eq!(status.signal(), None, "{status:?}");
        assert!([0, 129].contains(&status.exit_code()), "{status:?}");
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_dir(folder.path()).unwrap().next().is_some() {
            assert!(Instant::now() < deadline, "the program it watched left its socket behind");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_signal_ends_it_though_the_terminal_takes_no_output() {
    let folder = private_folder();
    let (pair, mut child) = start_unread(&folder);
    drop(pair.slave);
    // Until the buffer of the terminal is full, and the interface stuck.
    thread::sleep(Duration::from_millis(1500));
    let pid = child.process_id().unwrap().to_string();
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = wait_for_end(&mut child);
    assert!(asked.elapsed() > Duration::from_secs(1), "it was not stuck: {:?}", asked.elapsed());
    assert_eq!(status.exit_code(), 128 + 15, "{status:?}");
    let modes = pair.master.get_termios().unwrap().local_flags.bits();
    assert_eq!(modes & libc::ICANON, libc::ICANON, "the terminal was left raw");
}

/// A program of a name of its own: the tests see each other's programs.
fn start_program(directory: &Path, name: &str) -> DemoTarget {
    let mut program = DemoTarget::start(directory, &["--pace=20", &format!("--name={name}")]);
    program.go();
    program
}

fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn one_of_several_programs_is_picked() {
    let folder = private_folder();
    let name = unique("pick");
    let programs = [(); 2].map(|()| start_program(folder.path(), &name));
    let mut screen = Screen::start_in(folder, 120, 36, &[]);
    screen.wait_for("Which program?");
    screen.press(&format!("/{name}\r"));
    screen.wait_until_shown(&programs[1].pid().to_string());
    screen.press("j\r");
    screen.wait_until_shown(&format!("{name} {}", programs[1].pid()));
    screen.wait_until_shown(" LIVE ");
    screen.press("p");
    screen.wait_for("TREND");
    screen.press("q");
    screen.assert_ends_restored();
}

#[test]
fn a_program_that_starts_while_the_list_is_open_can_be_picked() {
    let folder = private_folder();
    // Two that nobody is meant to pick: with one alone there would be no list.
    let _others = [(); 2].map(|()| start_program(folder.path(), &unique("other")));
    let path = folder.path().to_owned();
    let mut screen = Screen::start_in(folder, 120, 36, &[]);
    screen.wait_for("Which program?");
    let name = unique("later");
    screen.press(&format!("/{name}\r"));
    screen.wait_until_shown("nothing matches the filter");
    let program = start_program(&path, &name);
    screen.wait_until_shown(&program.pid().to_string());
    screen.press("\r");
    screen.wait_until_shown(&format!("{name} {} LIVE ", program.pid()));
    screen.press("q");
    screen.assert_ends_restored();
}

#[test]
fn a_command_that_needs_one_program_lets_it_be_picked() {
    let folder = private_folder();
    let name = unique("top");
    let programs = [(); 2].map(|()| start_program(folder.path(), &name));
    let mut screen = Screen::start_in(folder, 120, 36, &["top"]);
    screen.wait_for("Which program?");
    screen.press(&format!("/{name}\r"));
    screen.wait_until_shown(&programs[1].pid().to_string());
    screen.press("j\r");
    screen.assert_ends_restored();
    screen.wait_for(&format!("{name}  pid {}", programs[1].pid()));
}

#[test]
fn signals_give_the_terminal_back_from_the_list_too() {
    for (signal, number) in [("-TERM", 15), ("-HUP", 1)] {
        let folder = private_folder();
        let _programs = [(); 2].map(|()| start_program(folder.path(), &unique("signal")));
        let mut screen = Screen::start_in(folder, 80, 24, &[]);
        screen.wait_for("TREND");
        assert!(!screen.is_cooked());
        let pid = screen.child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        screen.wait_for(LEAVE_SCREEN);
        screen.wait_for(SHOW_CURSOR);
        assert_eq!(wait_for_end(&mut screen.child).exit_code(), 128 + number);
        assert!(screen.is_cooked(), "the terminal was left raw");
    }
}

#[test]
fn a_program_is_followed_over_its_restart() {
    let folder = private_folder();
    let name = unique("restart");
    let mut first = start_program(folder.path(), &name);
    let path = folder.path().to_owned();
    let mut screen = Screen::start_in(folder, 120, 36, &[&name, "--follow"]);
    screen.wait_until_shown(&format!("{name} {} LIVE ", first.pid()));
    first.kill();
    screen.wait_until_shown(&format!("{name} {} WAITING ", first.pid()));
    screen.wait_until_shown(&format!("waiting for '{name}' to start again"));
    let second = start_program(&path, &name);
    screen.wait_until_shown(&format!("{name} {} LIVE ", second.pid()));
    screen.press("q");
    screen.assert_ends_restored();
}

#[test]
fn what_is_waited_for_is_said_on_the_screen() {
    let folder = private_folder();
    let name = unique("awaited");
    let path = folder.path().to_owned();
    let mut screen = Screen::start_in(folder, 120, 36, &["attach", &name, "--wait"]);
    screen.wait_until_shown(" WAITING ");
    screen.wait_until_shown(&format!("waiting for a program named '{name}'"));
    let mut program = start_program(&path, &name);
    screen.wait_until_shown(&format!("{name} {} LIVE ", program.pid()));
    program.kill();
    screen.wait_until_shown("(r looks for it again)");
    let next = start_program(&path, &name);
    screen.press("r");
    screen.wait_until_shown(&format!("{name} {} LIVE ", next.pid()));
    screen.press("q");
    screen.assert_ends_restored();
}

#[test]
fn any_size_starts_and_ends() {
    for (columns, rows) in [(80, 24), (60, 15), (20, 5), (1, 1)] {
        let mut screen = Screen::start(columns, rows, &["demo", "--pace", "20"]);
        screen.wait_for(ENTER_SCREEN);
        screen.read_for(Duration::from_millis(300));
        screen.press("q");
        screen.assert_ends_restored();
    }
}
