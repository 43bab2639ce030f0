//! Aim: `lfinspect run` without a terminal: the program keeps its input, its output and its status, and a report, or the reason
//! why there is none, follows on standard error.
//! Method: the real binary; what is preloaded does nothing, the program that is watched has an agent of its own.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::launch::{Lease, compile, library, try_compile};
use support::{lfinspect, private_folder, text};
use tempfile::TempDir;

/// A folder with a library, and the binary with all that it reads of its environment.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = private_folder();
        library(folder.path());
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = lfinspect(self.path());
        command.env("LFALLOC_SO", self.path().join("liblfalloc.so"));
        command.env_remove("LD_PRELOAD").env_remove("LFALLOC_AGENT");
        command.arg("run").args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn start(&self, words: &[&str]) -> Child {
        let command = self.command(words);
        // Whoever runs the tests may ignore signals (nohup(1)), and what it starts would, too.
        let mut plain = Command::new("env");
        plain.arg("--default-signal").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => plain.env(name, value),
                None => plain.env_remove(name),
            };
        }
        plain.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
}

/// The one line of the report of a program that was never seen, without the process id and the time.
fn told(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[test]
fn a_program_keeps_its_input_output_and_status() {
    let bench = Bench::new();
    let mut child = bench.command(&["--", "sh", "-c", "cat; echo oh >&2; exit 7"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"words\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "words\n");
    assert_eq!(output.status.code(), Some(7));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("oh\nlfinspect: pid "), "{stderr}");
    assert!(stderr.contains(" (sh) ended with status 7 after "), "{stderr}");
    assert!(stderr.ends_with("no state was seen: it ended before one came\n"), "{stderr}");
}

#[test]
fn a_signal_that_kills_it_is_told() {
    let bench = Bench::new();
    let output = bench.run(&["sh", "-c", "kill -USR1 $$"]);
    assert_eq!(output.status.code(), Some(128 + libc::SIGUSR1));
    assert!(told(&output).contains("(sh) was killed by signal 10 (SIGUSR1) after"));
}

#[test]
fn the_environment_says_what_it_should() {
    let bench = Bench::new();
    let script = "echo $LD_PRELOAD; echo $LFALLOC_AGENT; echo $LFALLOC_DIR";
    let library = bench.path().canonicalize().unwrap().join("liblfalloc.so");
    let (library, directory) = (library.display(), bench.path().display());
    let output = bench.run(&["sh", "-c", script]);
    assert_eq!(text(&output.stdout), format!("{library}\nchildren\n{directory}\n"));
    // What was there already stays.
    let other = bench.path().join("other.so");
    compile("int other;\n", &other, &["-shared", "-fPIC"]);
    let mut command = bench.command(&["sh", "-c", script]);
    let output = command.env("LD_PRELOAD", &other).env("LFALLOC_AGENT", "1").output().unwrap();
    let other = other.display();
    assert_eq!(text(&output.stdout), format!("{library}:{other}\n1\n{directory}\n"));
}

#[test]
fn what_cannot_be_started_has_the_status_of_a_shell() {
    let bench = Bench::new();
    let file = bench.path().join("file");
    fs::write(&file, "no program").unwrap();
    for (program, status, reason) in [
        ("/no/such/program", 127, "No such file or directory"),
        ("no-such-program", 127, "No such file or directory"),
        (file.to_str().unwrap(), 126, "Permission denied"),
    ] {
        let output = bench.run(&["--", program, "x"]);
        assert_eq!(output.status.code(), Some(status), "{program}");
        let line = format!("lfinspect: cannot start '{program}': {reason}\n");
        assert_eq!(text(&output.stderr), line);
        assert_eq!(text(&output.stdout), "");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let output = bench.run(&[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(126));
    assert!(text(&output.stderr).ends_with("Exec format error\n"), "{output:?}");
}

#[test]
fn without_the_library_it_is_told_where_it_was_looked_for() {
    let bench = Bench::new();
    // A binary of which nothing is known to be beside it.
    let own = bench.path().join("bin/lfinspect");
    fs::create_dir(own.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_lfinspect"), &own).unwrap();
    let run = |so: Option<&str>| {
        let mut command = Command::new(&own);
        command.env("HOME", bench.path()).env_remove("LFALLOC_SO");
        command.envs(so.map(|so| ("LFALLOC_SO", so))).args(["run", "true"]).output().unwrap()
    };
    let output = run(None);
    let root = bench.path().canonicalize().unwrap();
    let root = root.display();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "lfinspect: there is no liblfalloc.so in {root}/bin, {root}/lib, {root}/lib/lfalloc, \
             {}/.local/lib/lfalloc: build it with `cargo build --release -p lfalloc-preload`, or \
             name it in LFALLOC_SO\n",
            bench.path().display()
        )
    );
    let output = run(Some("/no/such.so"));
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stderr);
    assert!(
        line.starts_with("lfinspect: LFALLOC_SO names /no/such.so, which is no file"),
        "{line}"
    );
    fs::copy(bench.path().join("liblfalloc.so"), bench.path().join("bin/liblfalloc.so")).unwrap();
    assert_eq!(run(None).status.code(), Some(0));
}

#[test]
fn the_command_line_is_checked() {
    let bench = Bench::new();
    for words in [&[][..], &["--"], &["--socket", "/x", "true"]] {
        let output = bench.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
    }
    // What follows the program is the program's.
    let output = bench.run(&["echo", "--headless", "-x", "--", "--log"]);
    assert_eq!(text(&output.stdout), "--headless -x -- --log\n");
}

#[test]
fn a_log_is_the_programs_output_and_nothing_else() {
    let bench = Bench::new();
    let log = bench.path().join("log");
    fs::write(&log, "before\n").unwrap();
    let words = ["--log", log.to_str().unwrap(), "sh", "-c", "echo one; echo two >&2"];
    let output = bench.command(&words).env("LFINSPECT_LOG", "trace").output().unwrap();
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(0)));
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\none\ntwo\n");
    let output = bench.run(&["--log", "/no/such/log", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("/no/such/log: No such file"), "{output:?}");
}

#[test]
fn a_program_with_an_agent_is_reported() {
    let bench = Bench::new();
    let lease = Lease::new(bench.path());
    let words = lease.words();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.splice(0..0, ["--headless", "--rate", "20", "--ascii", "--"]);
    let child = bench.start(&words);
    thread::sleep(Duration::from_millis(1500));
    drop(lease);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines[0].contains(" (sh) ended with status 0 after "), "{stderr}");
    assert!(lines[0].contains(" states seen, the last "), "{stderr}");
    assert!(lines[1].starts_with("peak: mapped "), "{stderr}");
    assert!(lines[2].starts_with("lint"), "{stderr}");
    assert!(lines[4].starts_with("launched  pid "), "{stderr}");
    assert!(stderr.contains("WHERE THE MAPPED BYTES ARE") && stderr.contains("TRANSITIONS"));
    assert!(text(&output.stdout).starts_with("socket "), "{output:?}");
}

#[test]
fn signals_are_passed_on_or_left_to_the_program() {
    let bench = Bench::new();
    // A program that waits for them: a shell may lose one that comes while it starts a command.
    let program = bench.path().join("waits");
    let source = "#include <signal.h>\n#include <stdio.h>\n\
                  int main(void) {\n\
                  sigset_t set; sigemptyset(&set); sigaddset(&set, SIGHUP); sigaddset(&set, SIGTERM);\n\
                  sigprocmask(SIG_BLOCK, &set, 0); puts(\"ready\"); fflush(stdout);\n\
                  for (;;) { int number; sigwait(&set, &number); puts(number == SIGHUP ? \"hup\" : \"term\");\n\
                  fflush(stdout); if (number == SIGTERM) return 4; } }\n";
    compile(source, &program, &[]);
    // SIGINT comes to the program from the terminal: ours alone does nothing.
    let mut child = bench.start(&[program.to_str().unwrap()]);
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    for name in ["-INT", "-QUIT", "-HUP"] {
        signal(&child, name);
        thread::sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none(), "{name}");
    }
    signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(4), None));
    assert_eq!(text(&output.stdout), "hup\nterm\n");
}

/// Runs a program for some seconds that shows nothing, and says why.
fn reason_of(bench: &Bench, program: &str, arguments: &[&str]) -> String {
    let mut words = vec!["--", program];
    words.extend(arguments);
    let mut child = bench.start(&words);
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    told(&output)
}

#[test]
fn programs_that_load_nothing_are_told_by_the_reason() {
    let bench = Bench::new();
    let program = bench.path().join("static");
    let source = "#include <unistd.h>\nint main(void) { sleep(4); return 0; }\n";
    if try_compile(source, &program, &["-static"]) {
        let reason = reason_of(&bench, program.to_str().unwrap(), &[]);
        assert!(reason.contains("it is statically linked"), "{reason}");
    }
    let reason = reason_of(&bench, "env", &["-u", "LD_PRELOAD", "sleep", "4"]);
    assert!(reason.contains("LD_PRELOAD was taken out of its environment"), "{reason}");
    let reason = reason_of(&bench, "sleep", &["4"]);
    assert!(reason.contains("its agent does not listen"), "{reason}");
}

#[test]
fn a_program_that_runs_as_somebody_else_is_told() {
    let bench = Bench::new();
    let program = bench.path().join("changed");
    compile("#include <unistd.h>\nint main(void) { sleep(4); return 0; }\n", &program, &[]);
    // Only root may give files away.
    if std::os::unix::fs::chown(&program, Some(65_534), None).is_err() {
        return;
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let reason = reason_of(&bench, program.to_str().unwrap(), &[]);
    assert!(reason.contains("it is set-user-id"), "{reason}");
}
