//! What the fuzz targets share: taking an input apart.
//!
//! An input is read from its front; what it has no bytes left for is zero, so that every input means something and a
//! longer one means the same at its front.
#![forbid(unsafe_code)]

use lfalloc_protocol::encode_into;
use lfalloc_protocol::message::{ClassInfo, Hello, Kind, MAGIC, MAJOR, MINOR};

/// Kinds that an input may name by their place: all that are published, one of recordings, and one that nobody knows.
pub const KINDS: [Kind; 27] = [
    Kind::CLIENT_HELLO,
    Kind::TOTALS_REQUEST,
    Kind::SUBSCRIBE,
    Kind::STATE_REQUEST,
    Kind::SUPERBLOCK_REQUEST,
    Kind::HELLO,
    Kind::REFUSED,
    Kind::TOTALS,
    Kind::STATE_BEGIN,
    Kind::CLASSES,
    Kind::HEAPS,
    Kind::SUPERBLOCKS,
    Kind::LARGE_BLOCKS,
    Kind::STATE_END,
    Kind::TRANSITIONS,
    Kind::GAP,
    Kind::SUPERBLOCK_DETAIL,
    Kind::SIZE_SAMPLES,
    Kind::HEAP_COUNTERS,
    Kind(0xF001),
    Kind(0xF002),
    Kind(0x01FF),
    Kind::SUPERBLOCK_CHANGES,
    Kind::FRONT,
    Kind::DEPOTS,
    Kind::MAGAZINES,
    Kind::SUPERBLOCK_CACHED,
];

/// The rest of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two bytes as a number.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next `count` bytes, or what is left of them.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next frame: the place of its kind, the length of its payload, the payload.
    pub fn frame(&mut self) -> (Kind, &'a [u8]) {
        let kind = KINDS[usize::from(self.byte()) % KINDS.len()];
        let length = usize::from(self.word());
        (kind, self.bytes(length))
    }
}

/// Appends a frame as [`Input::frame`] reads it; nothing if the kind has no place or the payload is too long.
pub fn push_frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let place = KINDS.iter().position(|known| *known == kind).and_then(|at| u8::try_from(at).ok());
    if let (Some(place), Ok(length)) = (place, u16::try_from(payload.len())) {
        out.push(place);
        out.extend(length.to_le_bytes());
        out.extend(payload);
    }
}

/// The payload of a made-up agent's HELLO.
#[must_use]
pub fn greeting() -> Vec<u8> {
    let class = |block_bytes, superblock_bytes| ClassInfo {
        block_bytes,
        superblock_bytes,
        blocks_per_superblock: superblock_bytes / block_bytes,
    };
    let hello = Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: 4121,
        name: "made-up".to_owned(),
        agent_started_unix_ns: 1,
        uptime_ns: 0,
        heaps_per_class: 2,
        classes: vec![class(16, 1 << 16), class(600, 1 << 16), class(1 << 17, 1 << 20)],
        features: 1,
    };
    let mut out = vec![0; 1024];
    let used = encode_into(&hello, &mut out).unwrap_or_default();
    out.truncate(used);
    out
}
