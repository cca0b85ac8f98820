//! The work of scrapes, for tools that count instructions: `warm TARGETS PAGES [2.0] [GROUP…]` scrapes so many targets so
//! often, from the bytes of a real page (Flink 2.3.0, 1,416 samples) to compressed fragments of remote write 1.0 or
//! 2.0, and prints the samples of one page.
//! What runs that differ in one of the two differ by is one cold page or one warm one: `benches/instructions/check.py`.

#[path = "../common/path.rs"]
mod path;

use std::{env, hint::black_box, io::Write as _, time::Instant};

use flinkrelay::{
    flink::{Derivations, Sentinels},
    remote_write::Message,
};

use self::path::{PAGE, Path, samples, shaper};

fn main() -> std::io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [targets, pages, groups @ ..] = &*args else {
        return Err(std::io::Error::other("usage: warm TARGETS PAGES [2.0] [GROUP…]"));
    };
    let [targets, pages] = [targets, pages].map(|number| number.parse::<u32>().expect("a number"));
    let (message, groups) = match groups {
        [version, groups @ ..] if version == "2.0" => (Message::V2, groups),
        groups => (Message::V1, groups),
    };
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let shaper = shaper(&groups, Sentinels::Drop, Derivations::default());
    for _ in 0..targets {
        let mut path = Path::new(&shaper, message, Instant::now());
        for _ in 0..pages {
            let fragments = black_box(path.scrape(PAGE));
            assert!(!fragments.is_empty(), "a page has samples to send");
        }
    }
    writeln!(std::io::stdout(), "{}", samples(PAGE))
}
