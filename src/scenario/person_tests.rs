//! A peer that no command drives: what the person at it is asked, and when.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::embedded::{VirtualLink, VirtualPeer, in_virtual_time, simulated};
use super::estimate;
use super::file::{PeerOrder, Role, Scenario};
use super::load::{self, LoadedScenario};
use super::peer::{PeerDriver, mirror};
use super::person::Person;
use super::result::CaseResult;
use super::runner::{Bench, BenchSpec};
use super::suite::{self, Plan, Progress};
use super::{change::Setup, e2e_tests::BASELINE, sample};
use crate::engine::Limits;
use crate::seed::{KeySeed, Seeds};

/// Does what it is told to, but by its own account only a person can make it.
struct ByHand(VirtualPeer);

impl PeerDriver for ByHand {
    fn initiate(&mut self) -> Result<Option<String>, String> {
        self.0.initiate().map(|_| Some("begin it".to_owned()))
    }
    fn clear(&mut self) -> Result<bool, String> {
        Ok(false)
    }
    fn clear_by_hand(&self) -> Option<&str> {
        Some("clear it")
    }
    fn by_hand(&self, _order: Option<PeerOrder>) -> bool {
        true
    }
    fn order(&mut self, order: PeerOrder) -> Result<Option<String>, String> {
        self.0.order(order).map(|_| Some(order.words().to_owned()))
    }
}

struct Quiet;

impl Progress for Quiet {
    fn case(&mut self, _result: &CaseResult) {}
}

type Told = Rc<RefCell<Vec<String>>>;

fn bench(out: &Path, entered: Option<Box<dyn FnMut() -> bool>>) -> (Bench<VirtualLink>, Told) {
    let loaded = crate::config::parse(BASELINE, "embedded.yaml", Path::new(""), &|_| None).expect("a good file");
    let mut spec = loaded.spec;
    let seeds = Seeds::simulated("by hand");
    let theirs = mirror(&spec);
    let (link, peer) = in_virtual_time(&mut spec, &theirs, &seeds.plan, KeySeed::new([7; 32]), None);
    let told = Told::default();
    let kept = Rc::clone(&told);
    let bench = Bench::new(BenchSpec {
        link,
        carry: simulated(&spec),
        baseline: Setup::new(spec, Limits { cookie_threshold: None, ..Limits::default() }),
        number_from: 0,
        virtual_time: true,
        ping: None,
        seeds,
        peer: Box::new(ByHand(peer)),
        out: out.to_owned(),
        export_keys: false,
        halt: super::halt::Halt::default(),
        person: Person::reading(move |text| kept.borrow_mut().push(text.to_owned())).at_a_keyboard(entered),
        doubles: None,
    });
    (bench, told)
}

fn named(ids: &[&str]) -> Vec<LoadedScenario> {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    load::select(load::embedded().expect("they load"), &ids).expect("they are there")
}

/// Each request says for what it is and how many there are; the plan knows before how many cases need somebody.
#[test]
fn whoever_drives_the_box_knows_how_often_and_for_what() {
    let scenarios = named(&["auth/psk-mismatch", "rekey/ignored"]);
    let again = |_: &str, _: Role| String::new();
    let plan = Plan::new(&scenarios, &Role::ALL, &again);
    let responding = plan.cases.iter().filter(|one| one.role == Role::Responder).count();
    assert_eq!(estimate::by_hand(&plan, &|order| order.is_none()), (responding, 0));
    assert_eq!(estimate::by_hand(&plan, &|_| false), (0, 0));

    let out = tempfile::tempdir().expect("a folder");
    let (mut bench, told) = bench(out.path(), None);
    suite::run(&mut bench, &plan, sample::sample(), &mut Quiet).expect("files and sockets work");
    let told = told.borrow();
    let asks: Vec<&String> = told.iter().filter(|text| text.starts_with('[')).collect();
    let all = asks.len();
    assert_eq!(asks[0], &format!("[1/{all}] sanity, within 60 s: begin it"));
    assert_eq!(asks[1], &format!("[2/{all}] auth/psk-mismatch, within 60 s: begin it"));
    assert!(asks[all - 1].starts_with(&format!("[{all}/{all}] rekey/ignored")), "{asks:?}");
}

/// What the box keeps for a while is waited out, unless somebody there clears it and says so.
#[test]
fn enter_ends_the_wait_for_the_box_to_forget() {
    let scenario: Scenario = named(&["sa-init/half-open-stuck"]).remove(0).scenario;
    let span = scenario.settle.expect("it has to be waited out").0;
    let out = tempfile::tempdir().expect("a folder");
    let took = |entered: Option<Box<dyn FnMut() -> bool>>| {
        let (mut bench, told) = bench(out.path(), entered);
        let began = bench.now();
        bench.settle(&scenario).expect("sockets work");
        (bench.now().since(began), told.borrow().join("\n"))
    };
    let (alone, told) = took(None);
    assert!(alone >= span && told.contains("30 s") && told.contains("clear it"), "{alone:?} {told}");
    assert!(!told.contains("Enter"), "{told}");

    // What was typed before the question is no answer to it.
    let looks = Cell::new(0);
    let third = move || {
        looks.set(looks.get() + 1);
        [1, 4].contains(&looks.get())
    };
    let (answered, told) = took(Some(Box::new(third)));
    assert!(answered > Duration::ZERO && answered < Duration::from_secs(2), "{answered:?}");
    assert!(told.contains("clear it; then press Enter"), "{told}");
    let (silent, _) = took(Some(Box::new(|| false)));
    assert!(silent >= span, "{silent:?}");
}
