//! How far a long command has got: a bar on a terminal, lines at intervals elsewhere, always on stderr.

use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use siltstone_log::host::real::{RealClock, RealDisk};
use siltstone_log::host::{Clock, Completion, Disk, DiskOp, DiskReply, Ticket};
use siltstone_log::id::Position;
use siltstone_log::reader::ReadItem;
use siltstone_log::segment::SegmentName;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Time between two lines.
const LINE_EVERY_NANOS: u64 = 5_000_000_000;
/// A bar is drawn this often a second at most.
const BAR_HERTZ: u8 = 10;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// A bar where stderr is a terminal, else a line every five seconds
    #[default]
    Auto,
    /// A line every five seconds, and one at the end
    Plain,
    /// Nothing
    Off,
}

/// The flag of every long command.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ProgressArgs {
    /// How to show on stderr how far it is
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    progress: Mode,
}

/// A command's progress through a number of bytes or things known before.
pub struct Progress {
    label: &'static str,
    unit: Unit,
    total: u64,
    done: u64,
    sink: Sink,
}

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Things,
}

impl Unit {
    fn show(self, count: u64) -> String {
        match self {
            Self::Bytes => HumanBytes(count).to_string(),
            Self::Things => HumanCount(count).to_string(),
        }
    }
}

enum Sink {
    Off,
    Bar(ProgressBar),
    Lines { clock: RealClock, next: u64, at_end: bool },
}

impl Progress {
    /// Begins with nothing of `total` bytes done.
    pub fn begin(args: ProgressArgs, label: &'static str, total: u64) -> Self {
        Self::with(args, label, Unit::Bytes, total)
    }

    /// Begins with none of `total` things done.
    pub fn begin_counting(args: ProgressArgs, label: &'static str, total: u64) -> Self {
        Self::with(args, label, Unit::Things, total)
    }

    fn with(args: ProgressArgs, label: &'static str, unit: Unit, total: u64) -> Self {
        let lines = |at_end| Sink::Lines { clock: RealClock::default(), next: LINE_EVERY_NANOS, at_end };
        let sink = match args.progress {
            Mode::Off => Sink::Off,
            Mode::Plain => lines(true),
            Mode::Auto if !io::stderr().is_terminal() => lines(false),
            Mode::Auto => Sink::Bar(bar(label, unit, total)),
        };
        Self { label, unit, total, done: 0, sink }
    }

    /// So many bytes are done now.
    pub fn set(&mut self, done: u64) {
        self.done = done.min(self.total);
        match &mut self.sink {
            Sink::Off => {}
            Sink::Bar(bar) => bar.set_position(self.done),
            Sink::Lines { clock, next, .. } => {
                let elapsed = clock.monotonic_nanos();
                if elapsed >= *next {
                    *next = elapsed + LINE_EVERY_NANOS;
                    say(&line(self.label, self.unit, self.done, self.total, elapsed));
                }
            }
        }
    }

    /// So many bytes more.
    pub fn add(&mut self, more: u64) {
        self.set(self.done.saturating_add(more));
    }

    /// All is done, also what the total counted too much.
    pub fn end(self) {
        match self.sink {
            Sink::Off | Sink::Lines { at_end: false, .. } => {}
            Sink::Bar(bar) => bar.finish_and_clear(),
            Sink::Lines { clock, at_end: true, .. } => {
                say(&line(self.label, self.unit, self.total, self.total, clock.monotonic_nanos()));
            }
        }
    }
}

fn bar(label: &'static str, unit: Unit, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(BAR_HERTZ));
    let template = match unit {
        Unit::Bytes => "{msg} {wide_bar} {percent:>3} %  {bytes} of {total_bytes}, {eta} left",
        Unit::Things => "{msg} {wide_bar} {percent:>3} %  {human_pos} of {human_len}, {eta} left",
    };
    // The templates are constants; a wrong one would show in the first run.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label);
    bar
}

/// Who cannot be told how far it is is no reason to stop.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

fn line(label: &str, unit: Unit, done: u64, total: u64, elapsed_nanos: u64) -> String {
    let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(100);
    let (so_far, of) = (unit.show(done), unit.show(total));
    let left = u128::from(elapsed_nanos) * u128::from(total - done) / u128::from(done.max(1));
    let left = Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
    let rest = match (done, total - done) {
        (_, 0) => format!("done in {}", HumanDuration(Duration::from_nanos(elapsed_nanos))),
        (0, _) => "just begun".to_owned(),
        _ => format!("about {} left", HumanDuration(left)),
    };
    format!("{label}: {percent} %, {so_far} of {of}, {rest}")
}

/// A disk that tells a progress what was read from it.
pub struct Counted<'a> {
    disk: RealDisk,
    progress: &'a mut Progress,
}

impl<'a> Counted<'a> {
    /// Counts what is read from a disk.
    pub fn new(disk: RealDisk, progress: &'a mut Progress) -> Self {
        Self { disk, progress }
    }
}

impl Disk for Counted<'_> {
    fn submit(&mut self, ticket: Ticket, op: DiskOp) {
        self.disk.submit(ticket, op);
    }

    fn poll(&mut self) -> Option<Completion> {
        let completion = self.disk.poll()?;
        if let Ok(DiskReply::Data(bytes)) = &completion.result {
            self.progress.add(bytes.len() as u64);
        }
        Some(completion)
    }
}

/// Where each segment begins in the bytes of all of them.
pub struct Extent {
    begins: Vec<(Position, u64)>,
    total: u64,
}

impl Extent {
    /// From the segments and their lengths, in order.
    pub fn of(segments: Vec<(SegmentName, u64)>) -> Self {
        let mut total = 0;
        let begins = segments.into_iter().map(|(segment, bytes)| {
            let begin = (segment.first, total);
            total += bytes;
            begin
        });
        Self { begins: begins.collect(), total }
    }

    /// Bytes of all segments. The last one counts in full, although its end may be free.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that stand before an item's end.
    pub fn read(&self, item: &ReadItem) -> u64 {
        let (position, offset) = match item {
            ReadItem::Records(records) => match records.last() {
                Some(record) => (record.place.position, u64::from(record.place.offset)),
                None => return 0,
            },
            ReadItem::Unreadable(range) => (range.last, 0),
        };
        let at = self.begins.partition_point(|(first, _)| *first <= position).checked_sub(1);
        at.and_then(|at| self.begins.get(at)).map_or(0, |(_, begin)| begin + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siltstone_log::reader::Unreadable;

    #[test]
    fn a_line_says_how_much_is_done_and_how_long_the_rest_takes() {
        let table = [
            (0, 100, "verify: 0 %, 0 B of 100 B, just begun"),
            (25, 100, "verify: 25 %, 25 B of 100 B, about 6 seconds left"),
            (100, 100, "verify: 100 %, 100 B of 100 B, done in 2 seconds"),
            (0, 0, "verify: 100 %, 0 B of 0 B, done in 2 seconds"),
        ];
        for (done, total, expected) in table {
            assert_eq!(line("verify", Unit::Bytes, done, total, 2_000_000_000), expected);
        }
    }

    #[test]
    fn an_item_stands_behind_the_segments_before_its_own() {
        let segment = |first| SegmentName { first: Position(first), generation: 0 };
        let extent = Extent::of(vec![(segment(1), 1000), (segment(11), 500)]);
        let lost = |last| {
            extent.read(&ReadItem::Unreadable(Unreadable {
                first: Position(1),
                last: Position(last),
                accepted: false,
            }))
        };
        assert_eq!((extent.total(), lost(10), lost(11), lost(99)), (1500, 0, 1000, 1000));
    }
}
