//! Frames from a recording, at the pace they were recorded or another.

use std::thread;
use std::time::{Duration, Instant};

use crate::format;
use crate::recording::segments::FileRecording;
use crate::recording::{self, Chunk, End};
use crate::source::{Source, SourceEvent};

/// The events of a recording.
#[derive(Debug)]
pub struct ReplaySource {
    recording: FileRecording,
    /// Seconds of the recording in a second.
    speed: f64,
    /// What was before this time, by the recording's clock, is given at once.
    from: Duration,
    said_hello: bool,
    /// When the recording's clock stood at `from`, by ours and its speed.
    start: Option<Instant>,
    /// Read, and not due yet.
    next: Option<Chunk>,
    /// Time of the last chunk.
    at: Duration,
    ended: bool,
}

impl ReplaySource {
    /// Events of `recording`; with an infinite `speed` without pauses, and without them up to `from` its beginning.
    #[must_use]
    pub fn new(recording: FileRecording, speed: f64, from: Duration) -> Self {
        Self {
            from: recording.began().saturating_add(from),
            at: recording.began(),
            recording,
            speed,
            said_hello: false,
            start: None,
            next: None,
            ended: false,
        }
    }

    fn wait_until(&mut self, at: Duration, timeout: Duration) -> bool {
        if !self.speed.is_finite() {
            return true;
        }
        let Some(at) = at.checked_sub(self.from) else { return true };
        let start = *self.start.get_or_insert_with(Instant::now);
        let wait = Duration::try_from_secs_f64(at.as_secs_f64() / self.speed).ok();
        // A time that no clock reaches is never due.
        let Some(due) = wait.and_then(|wait| start.checked_add(wait)) else {
            thread::sleep(timeout);
            return false;
        };
        let wait = due.saturating_duration_since(Instant::now());
        thread::sleep(wait.min(timeout));
        wait <= timeout
    }

    fn ended(&mut self, end: &End) -> SourceEvent {
        self.ended = true;
        let lasted = self.at.saturating_sub(self.recording.began());
        let at = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX);
        SourceEvent::Gone(format!("{end}, after {}", format::duration(at)))
    }
}

impl Source for ReplaySource {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        if self.ended {
            thread::sleep(timeout);
            return SourceEvent::Quiet;
        }
        if !self.said_hello {
            self.said_hello = true;
            return SourceEvent::Connected(self.recording.hello().clone());
        }
        let chunk = match self.next.take().map_or_else(|| self.recording.next_chunk(), Ok) {
            Ok(chunk) => chunk,
            Err(end) => return self.ended(&end),
        };
        if !self.wait_until(chunk.at, timeout) {
            self.next = Some(chunk);
            return SourceEvent::Quiet;
        }
        self.at = chunk.at;
        if chunk.kind != recording::PROCESS {
            return SourceEvent::Frame(chunk.kind, chunk.payload);
        }
        match recording::process(&chunk.payload) {
            Some((pid, rss_bytes)) => SourceEvent::Process { pid, rss_bytes },
            None => SourceEvent::Quiet,
        }
    }

    // A recording holds what it holds.
    fn request_rate(&mut self, _hz: f64) {}

    fn request_superblock(&mut self, _id: u32) {}
}

#[cfg(test)]
mod tests {
    //! Aim: what lies before the time to begin at is given at once, what lies behind it when it is due. Method: a recording of
    //! a chunk a second, replayed so slowly that nothing is due while the test runs.
    use lfalloc_protocol::message::Kind;

    use super::*;
    use crate::recording::segments::{Keep, Recorder, Written};
    use crate::source::synthetic::{Synthetic, SyntheticSource};

    /// How many of ten chunks are given before the first pause.
    fn given(first_at: u64, from: u64) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut source = SyntheticSource::new(Synthetic::default());
        let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
            panic!("a greeting comes first")
        };
        let mut recorder = Recorder::create(&path, &hello, 1, 1 << 20, Keep::Oldest).unwrap();
        for second in first_at..first_at + 10 {
            let written = recorder.write(Duration::from_secs(second), Kind::GAP, &[0; 8]).unwrap();
            assert_eq!(written, Written::Yes);
        }
        recorder.finish().unwrap();
        let recording = FileRecording::open(&path).unwrap();
        let mut replay = ReplaySource::new(recording, 0.001, Duration::from_secs(from));
        assert!(matches!(replay.poll(Duration::ZERO), SourceEvent::Connected(_)));
        std::iter::from_fn(|| match replay.poll(Duration::ZERO) {
            SourceEvent::Frame(..) => Some(()),
            _ => None,
        })
        .count()
    }

    #[test]
    fn it_begins_where_it_is_told_to() {
        for (first_at, from, expected) in
            [(0, 0, 1), (0, 4, 5), (0, 9, 10), (0, 100, 10), (u64::from(u32::MAX), 0, 0)]
        {
            assert_eq!(given(first_at, from), expected, "{first_at} {from}");
        }
    }
}
