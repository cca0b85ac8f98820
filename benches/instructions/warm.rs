//! The work of scrapes after the first, for tools that count instructions: `warm PAGES` reads a real page
//! (Flink 2.3.0, 1,416 samples) so often, from its bytes to compressed fragments, and prints the samples of
//! one. Instructions of two runs apart, by their pages, are those of one warm page: `benches/instructions/check.py`.

#[path = "../common/path.rs"]
mod path;

use std::{env, hint::black_box, io::Write as _, time::Instant};

use flinkrelay::flink::{Derivations, Sentinels};

use self::path::{PAGE, Path, samples, shaper};

fn main() -> std::io::Result<()> {
    let pages = env::args().nth(1).and_then(|pages| pages.parse().ok());
    let pages: u32 = pages.expect("warm PAGES");
    let shaper = shaper(&[], Sentinels::Drop, Derivations::default());
    let mut path = Path::new(&shaper, Instant::now());
    for _ in 0..pages {
        let fragments = black_box(path.scrape(PAGE));
        assert!(!fragments.is_empty(), "a page has samples to send");
    }
    writeln!(std::io::stdout(), "{}", samples(PAGE))
}
