//! Every file of the fuzz targets' corpora holds what is promised, and so do thousands of variations of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ikelab::time::RealClock;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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

fn endpoint_corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/endpoint");
    let files = fs::read_dir(&directory).expect("the seed corpus is part of the repository");
    let mut paths: Vec<_> = files.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "only {} files in {}", paths.len(), directory.display());
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

#[test]
fn the_endpoint_corpus_keeps_the_promises() {
    for (at, data) in endpoint_corpus().iter().enumerate() {
        println!("number {at}: {data:?}"); // names it when the check below panics
        ikelab::engine::selfcheck(data);
    }
}

/// The corpus, mutated and spliced. `IKELAB_FUZZ_SECONDS` runs it for longer than the usual moment, from another seed each
/// time that `IKELAB_FUZZ_SEED` says so.
#[test]
fn mutations_of_the_endpoint_corpus_keep_the_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let patience = number("IKELAB_FUZZ_SECONDS").map(Duration::from_secs);
    let mut rng = ChaCha20Rng::seed_from_u64(number("IKELAB_FUZZ_SEED").unwrap_or(1));
    let clock = RealClock::start();
    let mut corpus = endpoint_corpus();
    let mut runs = 0;
    while patience.map_or(runs < 300, |patience| clock.now().elapsed() < patience) {
        let data = mutated(&mut rng, &corpus);
        let kept = data.clone();
        if std::panic::catch_unwind(move || ikelab::engine::selfcheck(&data)).is_err() {
            panic!("run {runs}: {kept:?}");
        }
        if runs % 50 == 0 && corpus.len() < 500 {
            corpus.push(kept);
        }
        runs += 1;
    }
    println!("{runs} runs");
}

fn mutated(rng: &mut ChaCha20Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut below = |n: usize| rng.next_u32() as usize % n.max(1);
    let mut data = corpus[below(corpus.len())].clone();
    for _ in 0..=below(8) {
        let at = below(data.len() + 1);
        match below(6) {
            0 => data.insert(at, below(256) as u8),
            1 if at < data.len() => drop(data.remove(at)),
            2 if at < data.len() => data[at] = below(256) as u8,
            3 => {
                let other = &corpus[below(corpus.len())];
                let from = below(other.len());
                data.splice(at..at, other[from..].iter().copied());
            }
            4 => data.extend((0..below(24)).map(|_| below(256) as u8)),
            // An operation, rather than any octet.
            _ => data.insert(at, [0, 1, 2, 3, 4, 5, 7, 8, 10, 13][below(10)] | (below(2) as u8) << 7),
        }
    }
    data.truncate(600);
    data
}

fn esp_corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/esp");
    let files = fs::read_dir(&directory).expect("the seed corpus is part of the repository");
    let mut paths: Vec<_> = files.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "only {} files in {}", paths.len(), directory.display());
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

#[test]
fn the_esp_corpus_and_its_mutations_keep_the_promises() {
    let corpus = esp_corpus();
    let mut rng = ChaCha20Rng::seed_from_u64(50);
    let mutations = (0..2_000).map(|_| mutated(&mut rng, &corpus));
    for (at, data) in corpus.iter().cloned().chain(mutations).enumerate() {
        let kept = data.clone();
        if std::panic::catch_unwind(move || ikelab::esp::selfcheck(&data)).is_err() {
            panic!("number {at}: {kept:?}");
        }
    }
}
