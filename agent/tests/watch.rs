//! `stockwire-agent watch` on a terminal, beside the real agent with a real port.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

mod bench;

use bench::{Bench, MUG, terminate, until};

const GREEN: vt100::Color = vt100::Color::Idx(2);
const ROWS: u16 = 16;
const COLUMNS: u16 = 60;

/// A terminal with a program on it. The program is killed when it is dropped.
struct Display {
    master: File,
    terminal: OwnedFd,
    program: Child,
    screen: vt100::Parser,
    /// All that was ever written.
    raw: Vec<u8>,
}

impl Display {
    fn start(program: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, winsize(COLUMNS, ROWS)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // A session of its own with this terminal, so that its Ctrl-C and its size reach the program.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let program = session.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = vt100::Parser::new(side(ROWS), side(COLUMNS), 0);
        Self { master: File::from(master), terminal, program, screen, raw: Vec::new() }
    }

    fn read(&mut self) {
        let ready = {
            let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            poll(&mut fds, Some(&wait)).unwrap() > 0
        };
        if ready {
            let mut buffer = [0; 8192];
            let length = self.master.read(&mut buffer).unwrap();
            self.screen.process(&buffer[..length]);
            self.raw.extend_from_slice(&buffer[..length]);
        }
    }

    fn await_screen(&mut self, what: &str, condition: impl Fn(&vt100::Screen) -> bool) {
        let mut seen = String::new();
        until(&format!("{what} on the screen"), || {
            self.read();
            if self.screen.screen().contents() != seen {
                seen = self.screen.screen().contents();
                eprintln!("--- waiting for {what}\n{seen}");
            }
            condition(self.screen.screen()).then_some(())
        });
    }

    fn type_key(&mut self, key: &[u8]) {
        self.master.write_all(key).unwrap();
    }

    fn await_end(&mut self) -> ExitStatus {
        until("the program ends", || {
            self.read();
            self.program.try_wait().unwrap()
        })
    }

    /// The shell's screen again, a cursor, and a line that is edited and echoed.
    fn assert_given_back(&mut self) {
        self.await_screen("the shell's screen", |screen| !screen.alternate_screen() && !screen.hide_cursor());
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn side(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).unwrap()
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn watch(bench: &Bench) -> Command {
    let mut command = bench.command(&["watch"]);
    command.env_remove("NO_COLOR");
    command
}

/// The background in the middle of the station's large line.
fn ground(screen: &vt100::Screen) -> vt100::Color {
    screen.cell(2, 1).unwrap().bgcolor()
}

#[test]
fn a_scan_is_seen_and_a_restart_is_told_and_the_terminal_is_given_back() {
    let bench = Bench::new("watch");
    let mut scanner = bench.scanner();
    let mut agent = bench.start();
    bench.await_device("bench-1/scanner", "working");

    let mut display = Display::start(&watch(&bench));
    display.await_screen("an idle station", |screen| {
        let text = screen.contents();
        screen.alternate_screen()
            && screen.hide_cursor()
            && text.contains("bench-1")
            && text.contains("no connection")
    });
    bench.scan(&mut scanner, "SW:WF:RECEIVE");
    bench.scan(&mut scanner, "SW:LOC:A-01");
    bench.scan(&mut scanner, MUG);
    display.await_screen("the good scan", |screen| {
        let text = screen.contents().to_lowercase();
        ground(screen) == GREEN && text.contains("mug") && text.contains("1 waiting")
    });

    assert_eq!(terminate(&mut agent).code(), Some(0));
    display.await_screen("that the agent is gone", |screen| {
        ground(screen) != GREEN && screen.contents().contains("The agent has not answered")
    });
    let _agent = bench.start();
    display.await_screen("the station again", |screen| {
        let text = screen.contents();
        text.contains("bench-1") && text.contains("1 waiting") && !text.contains("has not answered")
    });

    // A larger terminal is used.
    tcsetwinsize(&display.master, winsize(100, 30)).unwrap();
    display.screen.screen_mut().set_size(side(30), side(100));
    display.await_screen("a larger picture", |screen| {
        screen.rows(0, 100).nth(29).is_some_and(|row| row.trim_end().ends_with("box-1"))
    });

    kill_process(Pid::from_child(&display.program), Signal::TERM).unwrap();
    assert_eq!(display.await_end().code(), Some(0));
    display.assert_given_back();
}

#[test]
fn it_waits_for_an_agent_and_ends_by_key_and_by_interrupt() {
    let bench = Bench::new("watch-keys");
    for key in [&b"q"[..], b"\x03"] {
        let mut display = Display::start(&watch(&bench));
        display.await_screen("that there is no agent", |screen| {
            screen.contents().contains("The agent has not answered")
                && screen.contents().contains("agent.sock")
        });
        // Another key only paints anew.
        display.type_key(&[b"x", key].concat());
        assert_eq!(display.await_end().code(), Some(0), "{key:?}");
        display.assert_given_back();
    }
}

#[test]
fn without_colours_when_asked() {
    let bench = Bench::new("watch-mono");
    let mut display = Display::start(watch(&bench).env("NO_COLOR", "1"));
    display.await_screen("that there is no agent", |screen| screen.contents().contains("has not answered"));
    let coloured = |cell: &vt100::Cell| {
        cell.bgcolor() != vt100::Color::Default || cell.fgcolor() != vt100::Color::Default
    };
    let screen = display.screen.screen();
    let cells = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column)));
    assert!(!cells.into_iter().any(|(row, column)| coloured(screen.cell(row, column).unwrap())));
    assert!(screen.cell(0, 0).unwrap().inverse(), "what is wrong fills the screen all the same");
    display.type_key(b"q");
    assert_eq!(display.await_end().code(), Some(0));
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_read_on_the_shells_screen() {
    let mut helper = Command::new(std::env::current_exe().unwrap());
    helper.args(["--exact", "a_panic_on_a_full_screen", "--ignored", "--nocapture"]);
    // A trace of calls would push the panic off this small screen.
    helper.env("RUST_BACKTRACE", "0");
    let mut display = Display::start(&helper);
    assert!(!display.await_end().success());
    display.await_screen("the panic", |screen| screen.contents().contains("what nobody thought of"));
    let raw = String::from_utf8_lossy(&display.raw).into_owned();
    let (taken, left) = (raw.find("\u{1b}[?1049h").unwrap(), raw.find("\u{1b}[?1049l").unwrap());
    assert!(taken < left && left < raw.find("what nobody thought of").unwrap());
    display.assert_given_back();
}

#[test]
#[ignore = "fails on purpose, when another test runs it on a terminal"]
fn a_panic_on_a_full_screen() {
    let terminal = stockwire_agent::io::terminal::Terminal::take().unwrap();
    // As it is where a panic ends the program at once: nothing is dropped.
    std::mem::forget(terminal);
    panic!("what nobody thought of");
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let bench = Bench::new("watch-pipe");
    let output = bench.output(&["watch"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("status --json"));
}
