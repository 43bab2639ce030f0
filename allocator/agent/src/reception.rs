//! The waiting half of the thread: sleep until a descriptor is ready or something is due, then read
//! what came and take in who came.
//!
//! The sleep has no time-out when nobody is attached. Each condition that could keep a descriptor
//! ready for ever without progress, and so turn the sleep into a spin, has its remedy:
//!
//! | condition | remedy |
//! |---|---|
//! | accepting fails (no descriptors left) | the listener rests for a second |
//! | a signal of somebody else pends on the wake-up descriptor | that descriptor is no longer waited for; the stop flag is looked at periodically |
//! | a client is owed too much to be read from | its input is not waited for |
//! | the system refuses to wait | everything is tried after a pause |

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use interprocess::local_socket::traits::Listener as _;
use interprocess::os::unix::uds_local_socket::Stream;
use lfalloc_protocol::encode_frame;
use lfalloc_protocol::message::Kind;

use crate::os;
use crate::request::Refusal;
use crate::server::{SLOTS, Server, VIEWERS, is_due};

/// How long accepting rests after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How often the stop flag is looked at once the wake-up descriptor cannot be trusted.
const STOP_PERIOD: Duration = Duration::from_millis(250);

/// Places in the list of descriptors to wait for; the connections follow.
const WAKE_UP: usize = 0;
const LISTENER: usize = 1;
const FIRST_CONNECTION: usize = 2;
const ENTRIES: usize = FIRST_CONNECTION + SLOTS;

impl Server {
    /// When something is to be done even if nobody says anything; `None` when nobody is attached.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let mut next = Earliest(None);
        next.offer(self.accept_after);
        for slot in &self.slots {
            let Some(connection) = &slot.connection else {
                continue;
            };
            next.offer(connection.deadline());
            if slot.can_continue() {
                next.offer(Some(now));
            }
            let idle = slot.queue.is_empty();
            if idle && connection.wants_superblock.is_some() {
                next.offer(Some(now));
            }
            if idle && is_due(connection, now) {
                next.offer(Some(self.census_after));
            }
            if let Some(subscription) = &connection.subscription {
                let due = subscription.due;
                next.offer(Some(if idle { due.max(self.census_after) } else { due }));
                // See `send_transitions` for who gets none now.
                if idle && connection.have.is_some() {
                    next.offer(subscription.feed.as_ref().map(|feed| feed.due));
                }
            }
        }
        if !self.wake_up_works {
            next.offer(Some(now + STOP_PERIOD));
        }
        next.0
    }

    /// Sleeps until a descriptor is ready or a deadline is reached, then reads and accepts.
    pub(crate) fn wait(&mut self) {
        let now = Instant::now();
        if self.accept_after.is_some_and(|after| after <= now) {
            self.accept_after = None;
        }
        let (mut entries, count) = self.poll_entries();
        let entries = &mut entries[..count];
        let timeout = self.next_deadline(now).map(|next| next.saturating_duration_since(now));
        match os::poll(entries, timeout) {
            Ok(()) => {}
            // The C library's own signal, which it handles in every thread.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            // The program has lowered its limit of descriptors below what we wait for, or the
            // system is out of memory: everything is tried now and then, since nothing here waits.
            Err(_) => {
                std::thread::sleep(STOP_PERIOD);
                for entry in &mut *entries {
                    entry.revents = entry.events & libc::POLLIN;
                }
                entries[WAKE_UP].revents = 0;
            }
        }
        let now = Instant::now();
        if entries[WAKE_UP].revents != 0 && !self.stop.load(Ordering::Acquire) {
            self.wake_up_works = false;
        }
        let connected = self.slots.iter_mut().filter(|slot| slot.connection.is_some());
        for (slot, entry) in connected.zip(&entries[FIRST_CONNECTION..]) {
            let gone = entry.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
            let readable = entry.revents & libc::POLLIN != 0;
            if gone || (readable && slot.receive(now).is_err()) {
                slot.close();
            }
        }
        if entries[LISTENER].revents != 0 {
            self.accept(now);
        }
    }

    /// Sleeps so long, whatever clients do, unless it is told to stop.
    pub(crate) fn rest(&mut self, rest: Duration) {
        let end = Instant::now() + rest;
        while !self.stop.load(Ordering::Acquire) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let (fd, most) = if self.wake_up_works {
                (self.wake_up.as_raw_fd(), left)
            } else {
                (-1, left.min(STOP_PERIOD))
            };
            let mut entry = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
            match os::poll(&mut entry, Some(most)) {
                Ok(()) if entry[0].revents != 0 && !self.stop.load(Ordering::Acquire) => {
                    self.wake_up_works = false;
                }
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => std::thread::sleep(left.min(STOP_PERIOD)),
            }
        }
    }

    /// What to wait for, and how much of it: the two of our own, then the connections in the order
    /// of their slots. No more than needed, since the system refuses a list that is longer than the
    /// program's limit of descriptors.
    fn poll_entries(&self) -> ([libc::pollfd; ENTRIES], usize) {
        // A negative descriptor is passed over by the system.
        let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
        let mut entries = [none; ENTRIES];
        if self.wake_up_works {
            entries[WAKE_UP].fd = self.wake_up.as_raw_fd();
            entries[WAKE_UP].events = libc::POLLIN;
        }
        if self.accept_after.is_none() {
            entries[LISTENER].fd = self.listener.as_fd().as_raw_fd();
            entries[LISTENER].events = libc::POLLIN;
        }
        let mut count = FIRST_CONNECTION;
        for slot in &self.slots {
            let Some(connection) = &slot.connection else {
                continue;
            };
            let entry = &mut entries[count];
            count += 1;
            entry.fd = connection.stream.as_fd().as_raw_fd();
            if slot.wants_input() {
                entry.events |= libc::POLLIN;
            }
            if !slot.queue.is_empty() {
                entry.events |= libc::POLLOUT;
            }
        }
        (entries, count)
    }

    /// Takes in everybody who waits, but not for ever: one round has its turn in between.
    fn accept(&mut self, now: Instant) {
        for _ in 0..SLOTS {
            match self.listener.accept() {
                Ok(stream) => self.take_in(stream, now),
                Err(error) => {
                    match error.kind() {
                        io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted => {}
                        // The caller stays in the queue and would wake us again at once.
                        _ => self.accept_after = Some(now + ACCEPT_PAUSE),
                    }
                    return;
                }
            }
        }
    }

    fn take_in(&mut self, stream: Stream, now: Instant) {
        // The program may have changed its user since it started.
        let own = os::effective_uid();
        let uid = os::peer_uid(stream.as_fd()).unwrap_or(u32::MAX);
        let Some(index) = self.slots.iter().position(|slot| slot.connection.is_none()) else {
            let mut frame = [0; 512];
            let refused = self.outgoing.refused(Refusal::Busy { viewers: VIEWERS });
            if let Ok(bytes) = encode_frame(Kind::REFUSED, refused, &mut frame) {
                // A fresh socket has room for it; whoever is gone already needs no answer.
                let _ = (&stream).write(&frame[..bytes]);
            }
            return;
        };
        self.slots[index].open(stream, now);
        if uid != own && uid != 0 {
            self.refuse(index, Refusal::User { uid }, now);
        }
    }
}

/// The earliest of the moments offered.
struct Earliest(Option<Instant>);

impl Earliest {
    fn offer(&mut self, moment: Option<Instant>) {
        self.0 = match (self.0, moment) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
