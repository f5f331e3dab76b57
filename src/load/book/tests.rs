//! What becomes of a tunnel whose Child SA is gone.

use super::*;
use crate::engine::Failure;
use crate::wire::registry::NotifyType;

const TUNNEL: TunnelId = TunnelId(0);
const SA: SaId = SaId { slot: 1, generation: 1 };

/// A book with one tunnel that came up with the Child SA 7.
fn up() -> Book {
    let text = "version: 1\nremote: {address: 192.0.2.2}\nauth: {local: {psk: x}}\nike: {proposals: [aes128-sha256-x25519]}\n\
                children: [{proposals: [aes128-sha256]}]\n";
    let loaded = crate::config::parse(text, "x.yaml", std::path::Path::new("."), &|_| None).expect("a file");
    let peers = Peers::new(loaded.spec, "192.0.2.1".parse().expect("an address")).expect("no template");
    let mut book = Book::new(Lane { first: 0, stride: 1 }, Arc::new(peers), Arc::new(Gauges::new(1)), None);
    book.begin_stage(at(0), Duration::ZERO, Open::SetUp);
    book.begun(0, Open::SetUp, SA, None, at(0), at(0));
    book.event(at(1), TUNNEL, SA, Event::ChildOutbound { spi_in: 7 });
    assert_eq!((book.up(), book.child(0)), (1, 7));
    book
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn says(book: &mut Book, millis: u64, event: Event) {
    book.event(at(millis), TUNNEL, SA, event);
}

const GONE: Event = Event::ChildDown { spi_in: 7, by: Side::Peer };

#[test]
fn without_another_one_it_is_lost_and_its_ike_sa_is_deleted() {
    let mut book = up();
    says(&mut book, 5_000, GONE);
    assert_eq!(book.next_bare(), Some(at(7_000)));
    book.judge_bare(at(6_999));
    assert_eq!((book.up(), book.stats.lost.len()), (1, 0), "another one may come");
    book.judge_bare(at(7_000));
    assert_eq!((book.up(), book.stats.lost.get(&FailureClass::PeerDeleted)), (0, Some(&1)));
    assert_eq!((book.take_to_delete(), book.sa(0), book.next_bare()), (Some(0), Some(SA), None));
    let detected = book.stats.times(Timed::Detect).map_or(0, |times| times.max());
    assert!((4_990_000..5_010_000).contains(&detected), "when it went, not when it was judged: {detected}");
    says(&mut book, 7_010, Event::Deleted { by: Side::Us });
    says(&mut book, 7_010, Event::Closed);
    assert_eq!((book.take_down(), book.stats.lost.values().sum::<u64>()), (Some(0), 1));
}

#[test]
fn another_child_sa_takes_its_place_whichever_end_made_it_and_when() {
    for before in [true, false] {
        let mut book = up();
        let new = Event::ChildOutbound { spi_in: 8 };
        let (first, second) = if before { (new, GONE) } else { (GONE, new) };
        says(&mut book, 5_000, first);
        says(&mut book, 5_100, second);
        book.judge_bare(at(60_000));
        assert_eq!((book.up(), book.child(0), book.stats.lost.len(), book.next_bare()), (1, 8, 0, None));
        // And that one in its turn.
        says(&mut book, 70_000, Event::ChildDown { spi_in: 8, by: Side::Peer });
        book.judge_bare(at(80_000));
        assert_eq!((book.up(), book.stats.lost.get(&FailureClass::PeerDeleted)), (0, Some(&1)));
    }
}

#[test]
fn a_rekey_or_the_end_of_the_ike_sa_is_no_loss_of_a_child_sa() {
    let mut book = up();
    says(&mut book, 5_000, Event::ChildRekeyed { old: 7, new: 8 });
    says(&mut book, 5_000, Event::ChildOutbound { spi_in: 8 });
    says(&mut book, 5_100, GONE);
    book.judge_bare(at(60_000));
    assert_eq!((book.up(), book.child(0), book.stats.lost.len()), (1, 8, 0));
    // With the IKE SA its Child SAs go first; that is one loss.
    says(&mut book, 70_000, Event::ChildDown { spi_in: 8, by: Side::Peer });
    says(&mut book, 70_000, Event::Deleted { by: Side::Peer });
    book.judge_bare(at(80_000));
    assert_eq!((book.up(), book.stats.lost.get(&FailureClass::PeerDeleted)), (0, Some(&1)));
    assert_eq!(book.take_to_delete(), None);
}

#[test]
fn what_our_lifetime_ends_unrenewed_is_lost_for_the_reason_of_that() {
    let refused = || {
        let why = Failure::Rejected { notify: NotifyType::NO_PROPOSAL_CHOSEN, data: Vec::new(), protected: true };
        let exchange = ExchangeType::CREATE_CHILD_SA;
        Event::ChildFailed(Box::new(Failed { scope: FailScope::Child, exchange, found_by: Side::Peer, why }))
    };
    let ended = |spi_in| Event::ChildDown { spi_in, by: Side::Us };
    let lost = |book: &mut Book| {
        book.judge_bare(at(60_000));
        (book.up(), book.stats.lost.clone().into_iter().collect::<Vec<_>>())
    };
    let mut book = up();
    says(&mut book, 4_000, refused());
    says(&mut book, 5_000, ended(7));
    assert_eq!(lost(&mut book), (0, vec![(FailureClass::PfsMismatchAtRekey, 1)]));

    // No rekey was tried.
    let mut book = up();
    says(&mut book, 5_000, ended(7));
    assert_eq!(lost(&mut book), (0, vec![(FailureClass::Local, 1)]));

    // The next attempt was taken: the end of the old one is no loss, and that of the new one is not for the old reason.
    let mut book = up();
    says(&mut book, 4_000, refused());
    says(&mut book, 4_500, Event::ChildRekeyed { old: 7, new: 8 });
    says(&mut book, 5_000, ended(7));
    assert_eq!(lost(&mut book), (1, Vec::new()));
    says(&mut book, 70_000, ended(8));
    book.judge_bare(at(80_000));
    assert_eq!((book.up(), book.stats.lost.get(&FailureClass::Local)), (0, Some(&1)));

    // It goes with the IKE SA that a stage ends.
    let mut book = up();
    book.begun(0, Open::Delete, SA, None, at(5_000), at(5_000));
    says(&mut book, 5_000, ended(7));
    assert_eq!((lost(&mut book).1, book.next_bare()), (Vec::new(), None));
}

#[test]
fn a_rekey_of_what_the_peer_has_deleted_has_failed() {
    let mut book = up();
    book.begin_stage(at(4_000), Duration::ZERO, Open::RekeyChild);
    book.begun(0, Open::RekeyChild, SA, None, at(5_000), at(5_000));
    says(&mut book, 5_100, GONE);
    assert_eq!((book.open(), book.stats.failures.get(&(FailureClass::PeerDeleted, During::Rekey))), (0, Some(&1)));
    book.judge_bare(at(7_100));
    assert_eq!((book.up(), book.stats.lost.get(&FailureClass::PeerDeleted)), (0, Some(&1)));

    // Both ends rekey it: the peer's new one is used before it is settled that it stands.
    let mut book = up();
    book.begin_stage(at(4_000), Duration::ZERO, Open::RekeyChild);
    book.begun(0, Open::RekeyChild, SA, None, at(5_000), at(5_000));
    says(&mut book, 5_100, Event::ChildOutbound { spi_in: 8 });
    says(&mut book, 5_100, GONE);
    says(&mut book, 5_200, Event::ChildRekeyed { old: 7, new: 8 });
    assert_eq!((book.open(), book.stats.done, book.child(0), book.next_bare()), (0, 1, 8, None));
}

#[test]
fn what_goes_down_between_two_stages_belongs_to_the_next() {
    let mut book = up();
    assert_eq!(book.end_stage().lost.len(), 0);
    says(&mut book, 3_000, Event::Deleted { by: Side::Peer });
    book.begin_stage(at(4_000), Duration::ZERO, Open::SetUp);
    assert_eq!((book.up(), book.stats.lost.get(&FailureClass::PeerDeleted)), (0, Some(&1)));
}
