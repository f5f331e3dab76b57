//! Every file of the fuzz target's corpus holds what the codec promises.

use std::fs;
use std::path::Path;

#[test]
fn the_decode_corpus_keeps_the_promises() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode");
    let mut files = 0;
    for entry in fs::read_dir(&directory).expect("the seed corpus is part of the repository") {
        let path = entry.expect("a readable directory").path();
        let data = fs::read(&path).expect("a readable file");
        println!("{}", path.display()); // names the file when the check below panics
        ikelab::wire::selfcheck(&data);
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {}", directory.display());
}
