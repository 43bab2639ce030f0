//! A recording of one whole state: what `snapshot` writes.
//!
//! The frames are those with which an agent of this version would tell a full state;
//! [`Picture::apply`](crate::picture::Picture::apply) makes the same picture of them again.

use std::io::{self, Write};
use std::time::Duration;

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, encode_into};
use lfalloc_protocol::message::{
    Classes, Depots, HeapCounters, Heaps, Kind, LargeBlocks, Magazines, SizeSamples, StateBegin,
    StateEnd, Superblocks,
};
use serde::Serialize;

use super::{PROCESS, SEGMENT, Segment, Writer, process_payload};
use crate::picture::Picture;

/// Records in one frame; well below the limit of a frame.
const RECORDS_PER_FRAME: usize = 4096;

/// A recording of `picture` and nothing else; `unix_ns` says when it was taken, nanoseconds since 1970.
///
/// # Errors
/// When `out` cannot be written to, or a table of classes is larger than a frame.
pub fn write(picture: &Picture, unix_ns: u64, out: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(out, u64::MAX)?;
    let mut buffer = vec![0; MAX_PAYLOAD_BYTES];
    let used = encode_into(&picture.hello, &mut buffer).map_err(io::Error::other)?;
    writer.write(Duration::ZERO, Kind::HELLO, &buffer[..used])?;
    let segment = Segment { began_unix_ns: unix_ns, number: 0 };
    writer.write(Duration::ZERO, SEGMENT, &segment.to_bytes())?;
    let process = process_payload(picture.pid, picture.rss_bytes);
    writer.write(Duration::ZERO, PROCESS, &process)?;
    each_frame(picture, 1, |kind, payload| writer.write(Duration::ZERO, kind, payload).map(drop))?;
    writer.finish()?;
    Ok(())
}

/// Hands the frames of `picture` to `take`, as the full state number `sequence`.
///
/// # Errors
/// Those of `take`, and a table of classes that is larger than a frame.
pub fn each_frame(
    picture: &Picture,
    sequence: u64,
    take: impl FnMut(Kind, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut frames = Frames { buffer: vec![0; MAX_PAYLOAD_BYTES], take };
    let uptime_ns = picture.uptime_ns;
    frames.push(Kind::STATE_BEGIN, &StateBegin { sequence, full: true, uptime_ns })?;
    frames.push(Kind::CLASSES, &Classes { records: picture.classes.clone() })?;
    frames.push(Kind::SIZE_SAMPLES, &SizeSamples { records: picture.samples.clone() })?;
    frames.chunks(Kind::HEAPS, &picture.heaps, |first, records| Heaps { first, records })?;
    let counters: Vec<_> = picture.counters.values().copied().collect();
    frames.chunks(Kind::HEAP_COUNTERS, &counters, |_, records| HeapCounters { records })?;
    if let Some(front) = &picture.front {
        frames.push(Kind::FRONT, front)?;
        frames.push(Kind::DEPOTS, &Depots { records: picture.depots.clone() })?;
        let magazines: Vec<_> = picture.magazines.values().copied().collect();
        frames.chunks(Kind::MAGAZINES, &magazines, |_, records| Magazines { records })?;
    }
    let superblocks: Vec<_> =
        picture.superblocks.iter().map(|superblock| superblock.record(uptime_ns)).collect();
    frames.chunks(Kind::SUPERBLOCKS, &superblocks, |_, records| Superblocks { records })?;
    let large: Vec<_> = picture.large.values().copied().collect();
    frames.chunks(Kind::LARGE_BLOCKS, &large, |first, records| LargeBlocks { first, records })?;
    frames.push(Kind::STATE_END, &StateEnd { sequence, ..picture.end })
}

struct Frames<F> {
    buffer: Vec<u8>,
    take: F,
}

impl<F: FnMut(Kind, &[u8]) -> io::Result<()>> Frames<F> {
    fn push<T: Serialize>(&mut self, kind: Kind, message: &T) -> io::Result<()> {
        let used = encode_into(message, &mut self.buffer).map_err(io::Error::other)?;
        (self.take)(kind, &self.buffer[..used])
    }

    /// A frame for each so many records; one, with nothing in it, if there are none.
    fn chunks<T: Copy, M: Serialize>(
        &mut self,
        kind: Kind,
        records: &[T],
        message: impl Fn(bool, Vec<T>) -> M,
    ) -> io::Result<()> {
        let mut chunks = records.chunks(RECORDS_PER_FRAME);
        let first = chunks.next().unwrap_or_default();
        self.push(kind, &message(true, first.to_vec()))?;
        for chunk in chunks {
            self.push(kind, &message(false, chunk.to_vec()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what is written makes the same picture again, also where it takes several frames. Method: the made-up heap.
    use super::*;
    use crate::recording::Reader;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    #[test]
    fn a_state_comes_back() {
        for (superblocks, magazines) in [(0, false), (1, false), (40, true), (9000, false)] {
            let options =
                Synthetic { superblocks, operations: 500, magazines, ..Synthetic::default() };
            let mut source = SyntheticSource::new(options);
            let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
                panic!("a greeting comes first")
            };
            let mut picture = Picture::new(hello);
            picture.rss_bytes = Some(7);
            while picture.states < 3 {
                if let SourceEvent::Frame(kind, payload) = source.poll(Duration::ZERO) {
                    let _ = picture.apply(kind, &payload).unwrap();
                }
            }
            let mut bytes = Vec::new();
            write(&picture, 77, &mut bytes).unwrap();
            let mut reader = Reader::new(&bytes[..]).unwrap();
            assert_eq!(reader.segment(), Some(Segment { began_unix_ns: 77, number: 0 }));
            let mut again = Picture::new(reader.hello().clone());
            while let Ok(chunk) = reader.next_chunk() {
                if chunk.kind == PROCESS {
                    let process = super::super::process(&chunk.payload).unwrap();
                    (again.pid, again.rss_bytes) = process;
                }
                let _ = again.apply(chunk.kind, &chunk.payload).unwrap();
            }
            assert_eq!(again.states, 1);
            assert_eq!((again.pid, again.rss_bytes), (picture.pid, Some(7)));
            assert_eq!(again.uptime_ns, picture.uptime_ns);
            assert_eq!(again.end, StateEnd { sequence: 1, ..picture.end });
            assert_eq!(again.parts, picture.parts);
            assert_eq!(again.classes, picture.classes);
            assert_eq!(again.samples, picture.samples);
            assert_eq!(again.heaps, picture.heaps);
            assert_eq!(again.counters, picture.counters);
            assert_eq!(again.front.is_some(), magazines);
            assert_eq!((&again.front, &again.depots), (&picture.front, &picture.depots));
            assert_eq!(again.magazines, picture.magazines);
            assert_eq!(again.superblocks, picture.superblocks);
            assert_eq!(again.large, picture.large);
        }
    }
}
