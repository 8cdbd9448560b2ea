//! The journal on disk: the contract, and what only a disk can do to it: power cuts, a second agent, no room, bad
//! pages, failing writes.
//!
//! Several tests need a process that can be killed or limited. It is this test program itself, started again with
//! [`CHILD`] set; `child` is then its only test.

// Outside #[test] functions these helpers are still tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use stockwire_agent::io::sqlite_journal::{JournalOptions, OpenError, SqliteJournal};
use stockwire_agent::journal::contract::{self, event, events};
use stockwire_agent::journal::{Journal, JournalError, ReadLimit};
use stockwire_protocol::{Body, Event, Sequence};

const CHILD: &str = "STOCKWIRE_TEST_JOURNAL_CHILD";
const QUOTA: u64 = 64 * 1024 * 1024;
const ALL: ReadLimit = ReadLimit { events: usize::MAX, bytes: usize::MAX };
const UNIX_S: i64 = 1_790_000_000;

/// A directory of its own for each test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("stockwire-journal-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn journal(&self) -> JournalOptions {
        JournalOptions::new(self.0.join("journal.db"), QUOTA)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What a killed test leaves in the temporary directory is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(options: &JournalOptions) -> SqliteJournal {
    SqliteJournal::open(options.clone()).unwrap()
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number)
}

/// All rows that can be read, with a check that none is missing.
fn rows(journal: &SqliteJournal) -> Vec<Event> {
    let rows = journal.read(journal.kept_after(), ALL).unwrap();
    assert_eq!(rows.len() as u64, journal.head().get() - journal.kept_after().get());
    rows
}

#[test]
fn keeps_the_contract() {
    let mut directories = Vec::new();
    contract::check(|| {
        directories.push(Directory::new());
        Box::new(open(&directories.last().unwrap().journal()))
    });
    let directory = Directory::new();
    contract::check_reopen(|| Box::new(open(&directory.journal())));
    let directory = Directory::new();
    let small = JournalOptions::new(directory.0.join("journal.db"), JournalOptions::QUOTA_BYTES_MIN);
    contract::check_full(Box::new(open(&small)));
}

#[test]
fn a_second_agent_is_told_who_holds_the_journal() {
    let directory = Directory::new();
    let _first = open(&directory.journal());
    // The lock belongs to the open file, so that a second opening within one process meets it too.
    let error = SqliteJournal::open(directory.journal()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let directory = Directory::new();
    let options = directory.journal();
    let other = rusqlite::Connection::open(&options.path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    drop(other);
    let before = fs::read(&options.path).unwrap();
    let error = SqliteJournal::open_or_salvage(options.clone(), UNIX_S).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(fs::read(&options.path).unwrap(), before);
}

#[test]
fn the_log_keeps_its_size_and_is_not_deleted() {
    let directory = Directory::new();
    let options = directory.journal();
    let log = options.path.with_extension("db-wal");
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let mut journal = open(&options);
    let grown = size(&log);
    assert!(grown > 2_000_000, "{grown}");
    for round in 0..40 {
        for at in 0..100 {
            journal.append(&events(round * 500 + at * 5, round * 500 + at * 5 + 5)).unwrap();
        }
        let head = journal.head();
        contract::acknowledge(&mut journal, head).unwrap();
        journal.maintain().unwrap();
        assert_eq!(size(&log), grown, "round {round}");
    }
    drop(journal);
    assert_eq!(size(&log), grown);
    assert_eq!(rows(&open(&options)), events(0, 20_000));
}

#[test]
fn nothing_is_written_when_there_is_nothing_to_do() {
    let directory = Directory::new();
    let mut journal = open(&directory.journal());
    journal.append(&events(0, 10)).unwrap();
    contract::acknowledge(&mut journal, sequence(4)).unwrap();
    journal.save_watermark().unwrap();
    let state = || {
        let mut files: Vec<_> =
            fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = state();
    for _ in 0..10 {
        assert!(!journal.wants_maintenance());
        journal.maintain().unwrap();
        contract::acknowledge(&mut journal, sequence(4)).unwrap();
        journal.save_watermark().unwrap();
    }
    assert!(before == state(), "an idle journal writes nothing");
}

#[test]
fn rows_beyond_the_retention_are_trimmed_and_only_those() {
    let directory = Directory::new();
    let options = JournalOptions { retained_rows: 100, ..directory.journal() };
    let mut journal = open(&options);
    journal.append(&events(0, 2_000)).unwrap();
    contract::acknowledge(&mut journal, sequence(1_500)).unwrap();
    while journal.maintain().unwrap() == stockwire_agent::io::sqlite_journal::Maintenance::More {}
    // Trimming goes in steps, so that up to a step more than the retention may stay.
    let kept_after = journal.kept_after().get();
    assert!((1_100..=1_400).contains(&kept_after), "{kept_after}");
    assert_eq!(rows(&journal), events(kept_after, 2_000));
    drop(journal);
    let journal = open(&options);
    assert_eq!((journal.kept_after().get(), journal.watermark().get()), (kept_after, 1_500));
}

/// What the child does with the journal at `path`.
fn child_task(task: &str, path: &Path) {
    let mut journal = SqliteJournal::open(JournalOptions::new(path, QUOTA)).unwrap();
    let mut out = std::io::stdout();
    match task {
        // Appends for ever, and says each new head once it is durable: the beep.
        "append" => loop {
            let head = journal.head().get();
            let new = journal.append(&events(head, head + 1 + head % 3)).unwrap();
            if new.get().is_multiple_of(7) {
                contract::acknowledge(&mut journal, sequence(new.get() / 2)).unwrap();
                journal.maintain().unwrap();
            }
            writeln!(out, "{new}").unwrap();
        },
        // Appends until writing beyond the file size limit fails, opens the file again and goes on.
        "limit" => {
            let limit = rustix::process::Rlimit { current: Some(512 * 1024), maximum: None };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
            let refused = loop {
                let head = journal.head().get();
                if let Err(error) = journal.append(&[event(head)]) {
                    break error;
                }
            };
            let head = journal.head().get();
            assert!(matches!(refused, JournalError::Io { .. }), "{refused:?}");
            let again = journal.append(&[event(head)]).unwrap_err();
            assert!(again.is_poisoned(), "nothing is taken until it has been opened again: {again:?}");
            let unlimited = rustix::process::Rlimit { current: None, maximum: None };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, unlimited).unwrap();
            journal.reopen().unwrap();
            assert_eq!(journal.head().get(), head, "a refused row is not there");
            assert_eq!(rows(&journal), events(0, head));
            journal.append(&[event(head)]).unwrap();
            writeln!(out, "{}", head + 1).unwrap();
        }
        other => panic!("no task {other}"),
    }
}

#[test]
fn child() {
    if let Ok(order) = std::env::var(CHILD) {
        let (task, path) = order.split_once(' ').unwrap();
        child_task(task, Path::new(path));
    }
}

fn start_child(task: &str, path: &Path) -> Child {
    // A write beyond the limit of file sizes also sends a signal, which by default ends the process.
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact child --nocapture --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, format!("{task} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The heads a child announced; other lines are the test harness's own.
fn announced(line: &str) -> Option<u64> {
    line.trim().rsplit(' ').next()?.parse().ok()
}

#[test]
fn sixty_kills_lose_no_row_that_was_announced() {
    let directory = Directory::new();
    let options = directory.journal();
    let mut promised = 0;
    for kill in 0..60u64 {
        let mut child = start_child("append", &options.path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Another number of appends each time, and then whatever the process is doing just now.
        let appends = 1 + kill * 7 % 23;
        let mut seen = 0;
        while seen < appends {
            if let Some(head) = announced(&lines.next().expect("the child ended early").unwrap()) {
                promised = head;
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            promised = announced(&line).unwrap_or(promised);
        }
        let journal = open(&options);
        let head = journal.head().get();
        assert!(head >= promised, "kill {kill}: {promised} was announced, {head} is there");
        assert!(journal.watermark() <= journal.head());
        assert_eq!(rows(&journal), events(journal.kept_after().get(), head), "kill {kill}");
    }
    assert!(promised > 200, "{promised}");
}

#[test]
fn a_failed_write_poisons_and_a_new_opening_heals() {
    let directory = Directory::new();
    let options = directory.journal();
    let output = start_child("limit", &options.path).wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let promised = output.stdout.lines().map_while(Result::ok).filter_map(|line| announced(&line)).last();
    assert_eq!(open(&options).head().get(), promised.unwrap());
}

/// Appends `count` rows of which the first `acknowledged` are at the gateway, copied from the log into the file.
fn filled(options: &JournalOptions, count: u64, acknowledged: u64) -> stockwire_protocol::Epoch {
    let mut journal = open(options);
    let mut at = 0;
    while at < count {
        let to = (at + 50).min(count);
        journal.append(&events(at, to)).unwrap();
        at = to;
    }
    contract::acknowledge(&mut journal, sequence(acknowledged)).unwrap();
    journal.save_watermark().unwrap();
    let epoch = journal.epoch();
    drop(journal);
    let raw = rusqlite::Connection::open(&options.path).unwrap();
    raw.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    epoch
}

fn flip(path: &Path, offset: u64, mask: u8) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ mask]).unwrap();
}

/// Every row above the watermark comes back under its own identity or is told as lost; never another in its place.
fn check_salvaged(
    options: &JournalOptions,
    epoch: stockwire_protocol::Epoch,
    count: u64,
    acknowledged: u64,
    what: &str,
) {
    let (mut journal, salvage) = SqliteJournal::open_or_salvage(options.clone(), UNIX_S).unwrap();
    let salvage = salvage.unwrap_or_else(|| journal.salvage("met by reading", UNIX_S).unwrap());
    assert!(salvage.kept.exists(), "{what}");
    assert_ne!(journal.epoch(), epoch, "{what}: a new life");
    let first = journal.read(Sequence::NONE, ALL).unwrap();
    assert!(matches!(first[..], [Event { body: Body::Lost { count: 1 }, .. }]), "{what}: {first:?}");
    journal.append(&[event(0)]).unwrap();

    let lives = SqliteJournal::earlier_lives(&options.path).unwrap();
    assert_eq!(lives.len(), usize::from(salvage.epoch.is_some()), "{what}");
    let Some(path) = lives.first() else { return };
    let mut before = open(&JournalOptions::new(path, QUOTA));
    assert_eq!((before.epoch(), before.watermark().get()), (epoch, acknowledged), "{what}");
    let mut lost = 0;
    for (at, row) in before.read(before.watermark(), ALL).unwrap().into_iter().enumerate() {
        match row.body {
            Body::Lost { count } => lost += count,
            _ => assert_eq!(row, event(acknowledged + at as u64), "{what}"),
        }
    }
    assert_eq!(lost + 1, salvage.lost, "{what}");
    let (there, expected) = (before.head().get() - acknowledged, count - acknowledged);
    assert!(
        there <= expected && there + 12 >= expected,
        "{what}: {there} of {expected} rows, one page is bad"
    );
    assert!(lost <= 12, "{what}: {lost} lost to one bad page");
    let head = before.head();
    contract::acknowledge(&mut before, head).unwrap();
    before.retire().unwrap();
    assert_eq!(SqliteJournal::earlier_lives(&options.path).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn whatever_page_is_damaged_the_rest_is_saved() {
    let directory = Directory::new();
    let options = directory.journal();
    let epoch = filled(&options, 160, 40);
    let whole = fs::read(&options.path).unwrap();
    let pages = whole.len() as u64 / 512;
    assert!(pages > 20, "{pages}");
    let mut seen = 0;
    for page in 0..pages {
        // The header of the page, and the middle of its newest cell.
        for offset in [3, 500] {
            for entry in fs::read_dir(&directory.0).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
            fs::write(&options.path, &whole).unwrap();
            flip(&options.path, page * 512 + offset, 0x55);
            let what = format!("page {page}, byte {offset}");
            match SqliteJournal::open(options.clone()) {
                Err(OpenError::Damaged { .. }) => {
                    check_salvaged(&options, epoch, 160, 40, &what);
                    seen += 1;
                }
                // Not met at the start: then by reading, or it was in a row that the gateway holds.
                Ok(journal) => match journal.read(sequence(40), ALL) {
                    Ok(read) => assert_eq!(read, events(40, 160), "{what}: silently wrong"),
                    Err(JournalError::Corrupt { .. }) => {
                        drop(journal);
                        check_salvaged(&options, epoch, 160, 40, &what);
                        seen += 1;
                    }
                    Err(error) => panic!("{what}: {error:?}"),
                },
                // The first page says whose file it is; without it the file is not touched.
                Err(OpenError::Foreign { .. }) if page == 0 => {}
                Err(error) => panic!("{what}: {error:?}"),
            }
        }
    }
    assert!(seen > pages, "only {seen} of {} damages were seen", pages * 2);
}

#[test]
fn damage_in_the_log_does_not_shorten_the_journal_unnoticed() {
    let directory = Directory::new();
    let options = directory.journal();
    let mut journal = open(&options);
    let epoch = journal.epoch();
    for number in 0..60 {
        journal.append(&[event(number)]).unwrap();
    }
    drop(journal);
    let log = options.path.with_extension("db-wal");
    // In the middle of the log: SQLite takes everything behind it for never written.
    flip(&log, 32 + 536 * 60 + 200, 0x01);
    let outcome = SqliteJournal::open_or_salvage(options.clone(), UNIX_S).unwrap();
    match outcome {
        (journal, None) => assert_eq!(rows(&journal), events(0, 60), "rows were lost in silence"),
        (_, Some(salvage)) => {
            assert_eq!(salvage.epoch, Some(epoch));
            let lives = SqliteJournal::earlier_lives(&options.path).unwrap();
            let before = open(&JournalOptions::new(&lives[0], QUOTA));
            assert_eq!(rows(&before).len() as u64 + salvage.lost, 61);
        }
    }
}

#[test]
fn a_salvage_that_was_interrupted_is_finished() {
    let directory = Directory::new();
    let options = directory.journal();
    let epoch = filled(&options, 100, 10);
    flip(&options.path, 512 * 6 + 3, 0x55);
    let (journal, salvage) = SqliteJournal::open_or_salvage(options.clone(), UNIX_S).unwrap();
    assert!(salvage.is_some());
    let new = journal.epoch();
    drop(journal);
    // As if the power had failed just after the decision: the new file is not yet in its place.
    fs::rename(&options.path, options.path.with_extension("db.next")).unwrap();
    fs::remove_file(options.path.with_extension("db-wal")).unwrap();
    let (journal, salvage) = SqliteJournal::open_or_salvage(options.clone(), UNIX_S).unwrap();
    assert_eq!((salvage, journal.epoch()), (None, new));
    let lives = SqliteJournal::earlier_lives(&options.path).unwrap();
    assert_eq!(open(&JournalOptions::new(&lives[0], QUOTA)).epoch(), epoch);
}

#[test]
fn a_restored_copy_gets_a_new_epoch_and_keeps_its_own_rows() {
    let directory = Directory::new();
    let options = directory.journal();
    let epoch = filled(&options, 50, 40);
    let mut journal = open(&options);
    let start = journal.head();
    journal.append(&events(900, 903)).unwrap();
    let kept = journal.begin_new_epoch(start, UNIX_S).unwrap();
    assert!(kept.exists());
    assert_ne!(journal.epoch(), epoch);
    assert_eq!(rows(&journal), events(900, 903), "what this run recorded was never in the copy");
    assert_eq!(journal.watermark(), Sequence::NONE);
    journal.append(&events(903, 904)).unwrap();
}

/// A file system of its own, small and in memory, unmounted with the test.
struct SmallDisk(Directory);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let directory = Directory::new();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "stockwire-test"])
            .arg(&directory.0)
            .status()
            .unwrap();
        assert!(status.success(), "mounting needs root");
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's file system stays mounted");
    }
}

#[test]
#[ignore = "needs root, to mount a small file system: cargo verify --stage real"]
fn a_full_disk_refuses_and_acknowledgements_make_room() {
    let disk = SmallDisk::mount("8m");
    let options = disk.0.journal();
    let mut journal = open(&options);
    // Somebody else's file leaves little, and grows until nothing is left.
    let other = disk.0.0.join("other");
    fs::write(&other, vec![1; 2 * 1024 * 1024]).unwrap();
    let mut number = 0;
    let refused = loop {
        let to = number + 50;
        match journal.append(&events(number, to)) {
            Ok(_) => number = to,
            Err(error) => break error,
        }
        assert!(number < 1_000_000);
    };
    assert!(matches!(refused, JournalError::DiskFull { .. }), "{refused:?}");
    assert!(journal.stats().unwrap().disk_full);
    // What the journal gave up goes to somebody else: nothing at all is left.
    let mut file = File::options().append(true).open(&other).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    assert!(journal.append(&events(number, number + 5_000)).is_err());
    assert_eq!(journal.head().get(), number);
    assert_eq!(rows(&journal), events(0, number), "nothing stored was overwritten");

    // The link is back: what the gateway holds makes room, without a byte more from the disk.
    let acknowledged = number * 3 / 4;
    contract::acknowledge(&mut journal, sequence(acknowledged)).unwrap();
    let room = acknowledged / 2;
    let mut at = number;
    while at < number + room {
        journal
            .append(&events(at, at + 50))
            .unwrap_or_else(|error| panic!("after {}: {error:?}", at - number));
        at += 50;
        if at % 1_000 == 0 {
            journal.maintain().unwrap();
        }
    }
    drop(journal);
    let mut journal = open(&options);
    assert_eq!(journal.head().get(), at);
    let kept_after = journal.kept_after().get();
    assert_eq!(rows(&journal), events(kept_after, at));

    // And when the disk has room again, the reserve comes back.
    fs::remove_file(&other).unwrap();
    journal.maintain().unwrap();
    assert!(!journal.stats().unwrap().disk_full);
    assert!(options.path.with_extension("db.reserve").exists());
}
