//! Whether somebody presses Enter. Nothing is read where standard input is not a terminal that we are in front of: it may
//! be a list that a loop in a script reads, or belong to the shell.

use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Says whether Enter was pressed since it was last called; `None` where nobody can press it.
pub fn enter() -> Option<Box<dyn FnMut() -> bool>> {
    let there = || stdin().is_terminal() && in_front();
    there().then(|| Box::new(move || there() && line(stdin())) as Box<dyn FnMut() -> bool>)
}

/// Whether the terminal gives its input to our process group.
fn in_front() -> bool {
    std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| leads(&stat).unwrap_or(false))
}

/// From a line of `/proc/PID/stat`: whether the process group is the terminal's foreground one.
fn leads(stat: &str) -> Option<bool> {
    // The name of the program stands in brackets and may hold blanks; then come state, parent, group, session, terminal
    // and the terminal's foreground group.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(2)? == fields.get(5)?)
}

/// Whether a line can be read without waiting; it is read.
fn line(from: impl AsFd) -> bool {
    let mut polled = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
    if !poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        return false;
    }
    let mut octets = [0; 1024];
    nix::unistd::read(&from, &mut octets).is_ok_and(|read| octets[..read].contains(&b'\n'))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_is_seen_once_and_nothing_is_waited_for() {
        let (reads, mut writes) = std::io::pipe().expect("a pipe");
        assert!(!line(&reads));
        writes.write_all(b"yes\n").expect("it is open");
        assert!(line(&reads) && !line(&reads));
        drop(writes);
        assert!(!line(&reads), "the end of the input is no Enter");
    }

    #[test]
    fn the_foreground_group_is_in_the_status() {
        assert_eq!(leads("17 (a) b) S 1 17 17 34816 17 4194304"), Some(true));
        assert_eq!(leads("17 (ikelab) S 1 17 16 34816 16 4194304"), Some(false));
        assert_eq!(leads("17 (ikelab) S"), None);
    }
}
