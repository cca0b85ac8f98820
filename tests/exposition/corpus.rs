//! The fuzz target's corpus, replayed: what a fuzzer once found must stay found.

use std::{fs, path::Path};

use flinkrelay::exposition::{Limits, Reason, fuzz_page, page};

#[test]
fn the_corpus_breaks_nothing_and_reaches_every_fault() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/page");
    let mut reasons = Vec::new();
    let mut samples = 0;
    for entry in fs::read_dir(root).expect("the corpus") {
        let bytes = fs::read(entry.expect("a directory entry").path()).expect("an input");
        fuzz_page(&bytes);
        let limits = Limits { line_bytes_max: 2000, labels_max: 32, ..Limits::default() };
        let page = page(&bytes, &limits).expect("small inputs");
        samples += page.samples().count();
        reasons.extend(page.faults.iter().map(|fault| fault.reason));
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons, Reason::ALL, "the corpus should hold an input for each reason");
    assert!(samples > 50, "only {samples} good samples");
}
