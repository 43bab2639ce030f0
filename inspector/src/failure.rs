//! Expected failures: one line that names the thing, the reason and the next step.
//!
//! A command returns a [`color_eyre::Report`]. One that holds a [`Failure`] is printed as that one
//! line; a closed pipe on standard output is no failure at all; everything else is a fault of
//! lfinspect itself and is printed with its chain of causes.

use std::fmt;
use std::io::{self, Write};

/// What a command returns.
pub type Outcome<T> = color_eyre::Result<T>;

/// An expected failure. Ends the program with status 1 and this line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure that prints as `line`.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Lets `print` write to standard output, to its last byte. That it cannot be written to is an
/// expected failure: a full disk, say.
///
/// # Errors
/// Those of `print`, or a [`Failure`] that names standard output.
pub fn to_stdout(print: impl FnOnce(&mut dyn Write) -> Outcome<()>) -> Outcome<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    print(&mut stdout).and_then(|()| Ok(stdout.flush()?)).map_err(of_output)
}

fn of_output(report: color_eyre::Report) -> color_eyre::Report {
    if is_closed_pipe(&report) {
        return report;
    }
    let reason = report.root_cause().to_string();
    // The number says nothing that the words do not.
    let reason = reason.split(" (os error").next().unwrap_or_default();
    Failure::new(format!("cannot write to standard output: {reason}")).into()
}

/// Whether `report` only says that the reader of our output went away, as in `lfinspect ls | head`.
#[must_use]
pub fn is_closed_pipe(report: &color_eyre::Report) -> bool {
    report.chain().any(|cause| {
        let direct = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let in_json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        direct.or(in_json) == Some(io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    //! Aim: a closed pipe is recognised through every wrapping it arrives in, and nothing else is.

    use color_eyre::eyre::WrapErr as _;

    use super::*;

    fn broken() -> io::Error {
        io::Error::from(io::ErrorKind::BrokenPipe)
    }

    #[test]
    fn a_closed_pipe_is_found_below_context_and_json() {
        let wrapped = Err::<(), _>(broken()).wrap_err("cannot print").unwrap_err();
        assert!(is_closed_pipe(&wrapped));
        assert!(is_closed_pipe(&color_eyre::Report::new(serde_json::Error::io(broken()))));
    }

    #[test]
    fn other_failures_are_not_closed_pipes() {
        assert!(!is_closed_pipe(&color_eyre::Report::new(Failure::new("no such process"))));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!is_closed_pipe(&color_eyre::Report::new(full)));
    }

    #[test]
    fn an_output_that_takes_nothing_gives_one_line() {
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let line = "cannot write to standard output: No space left on device";
        for report in [
            color_eyre::Report::new(full()),
            color_eyre::Report::new(serde_json::Error::io(full())),
        ] {
            assert_eq!(of_output(report).downcast_ref::<Failure>(), Some(&Failure::new(line)));
        }
        assert!(is_closed_pipe(&of_output(color_eyre::Report::new(broken()))));
    }
}
