//! A text that is redrawn in place on a terminal. Where there is none, nothing is written.
//!
//! What stood on the terminal before stays as it is. A text that is higher than the terminal is cut: lines that have
//! scrolled away cannot be redrawn, and would be left behind by each frame.

use std::io;

use console::{Term, measure_text_width};

/// A terminal and how much of it is ours.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
    is_on: bool,
    /// What the text takes, long lines broken by the terminal included.
    rows: usize,
}

impl Screen {
    /// Nothing is shown yet.
    pub(super) fn new(term: Term) -> Self {
        Self { is_on: term.is_term(), term, rows: 0 }
    }

    /// Shows a text in the place of the one before.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        if !self.is_on {
            return Ok(());
        }
        let (height, width) = self.term.size();
        // The cursor stands in the row below the text.
        let room = usize::from(height).saturating_sub(1);
        self.term.clear_last_lines(self.rows)?;
        self.rows = 0;
        for line in text.lines() {
            let rows = measure_text_width(line).div_ceil(usize::from(width).max(1)).max(1);
            if self.rows + rows > room {
                break;
            }
            self.term.write_line(line)?;
            self.rows += rows;
        }
        self.term.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Seek as _, Write as _},
    };

    use super::*;

    /// What `Term` takes for the size of what is no terminal.
    const HEIGHT: usize = 24;
    const WIDTH: usize = 80;

    /// As much of a terminal as a redrawn text needs: rows, a cursor, `CSI n A`, `CSI n B`, `CSI 2 K`.
    struct Emulator {
        rows: Vec<String>,
        row: usize,
        /// Rows that have scrolled away above.
        gone: usize,
    }

    impl Emulator {
        fn of(written: &str) -> Self {
            let mut screen = Self { rows: vec![String::new(); HEIGHT], row: 0, gone: 0 };
            let mut rest = written;
            while let Some(next) = rest.chars().next() {
                rest = &rest[next.len_utf8()..];
                match next {
                    '\n' => screen.down(),
                    '\r' => {}
                    '\x1b' => {
                        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                        screen.control(&rest[1..end], &rest[end..=end]);
                        rest = &rest[end + 1..];
                    }
                    _ => screen.put(next),
                }
            }
            screen
        }

        fn down(&mut self) {
            self.row += 1;
            if self.row == HEIGHT {
                self.rows.remove(0);
                self.rows.push(String::new());
                self.row -= 1;
                self.gone += 1;
            }
        }

        fn put(&mut self, next: char) {
            let wide = measure_text_width(next.encode_utf8(&mut [0; 4]));
            if measure_text_width(&self.rows[self.row]) + wide > WIDTH {
                self.down();
            }
            self.rows[self.row].push(next);
        }

        fn control(&mut self, number: &str, command: &str) {
            let number: usize = number.parse().unwrap();
            match command {
                "A" => self.row = self.row.saturating_sub(number),
                "B" => self.row = (self.row + number).min(HEIGHT - 1),
                "K" => self.rows[self.row].clear(),
                other => panic!("{other:?} is not known here"),
            }
        }
    }

    /// Shows the texts one after the other below a line that stood there before.
    fn check(texts: &[&str], expect: &[&str]) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before\n").unwrap();
        let term =
            Term::read_write_pair(File::open("/dev/null").unwrap(), file.try_clone().unwrap());
        let mut screen = Screen { is_on: true, ..Screen::new(term) };
        for text in texts {
            screen.show(text).unwrap();
        }
        file.rewind().unwrap();
        let mut written = String::new();
        file.read_to_string(&mut written).unwrap();
        let seen = Emulator::of(&written);
        let rows = seen.rows.iter().map(String::as_str).take(seen.row);
        assert_eq!(rows.collect::<Vec<_>>(), [&["before"], expect].concat(), "{texts:?}");
        assert!(seen.rows[seen.row..].iter().all(String::is_empty), "{texts:?}: {:?}", seen.rows);
        assert_eq!(seen.gone, 0, "{texts:?}: what was there before has scrolled away");
    }

    #[test]
    fn the_last_text_stands_in_the_place_of_those_before() {
        check(&["a\nb\n", "c\n"], &["c"]);
        check(&["a\n", "b\nc\nd\n", "e\nf\n"], &["e", "f"]);
        check(&["a\nb\n", ""], &[]);
        check(&["", "a\n\nb\n"], &["a", "", "b"]);
    }

    #[test]
    fn lines_that_the_terminal_breaks_take_their_rows() {
        let (full, long) = ("x".repeat(WIDTH), "y".repeat(2 * WIDTH + 1));
        check(&[&full, "a\n"], &["a"]);
        check(&[&long, "a\n"], &["a"]);
        check(&["a\n", &long], &[&long[..WIDTH], &long[..WIDTH], "y"]);
        // 41 characters of two columns each.
        let wide = "日".repeat(WIDTH / 2 + 1);
        check(&[&wide, "a\nb\n"], &["a", "b"]);
        check(&["\x1b[1A\x1b[1B", "a\n"], &["a"]);
    }

    #[test]
    fn a_text_that_is_higher_than_the_terminal_is_cut() {
        let lines: Vec<_> = (0..2 * HEIGHT).map(|n| n.to_string()).collect();
        let mut file = tempfile::tempfile().unwrap();
        let term =
            Term::read_write_pair(File::open("/dev/null").unwrap(), file.try_clone().unwrap());
        let mut screen = Screen { is_on: true, ..Screen::new(term) };
        for _ in 0..3 {
            screen.show(&lines.join("\n")).unwrap();
        }
        file.rewind().unwrap();
        let mut written = String::new();
        file.read_to_string(&mut written).unwrap();
        let seen = Emulator::of(&written);
        assert_eq!(seen.gone, 0, "frames are left behind");
        assert_eq!(seen.rows[..HEIGHT - 1], lines[..HEIGHT - 1]);
    }

    #[test]
    fn where_there_is_no_terminal_nothing_is_written() {
        let file = tempfile::tempfile().unwrap();
        let term =
            Term::read_write_pair(File::open("/dev/null").unwrap(), file.try_clone().unwrap());
        Screen::new(term).show("a\n").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
