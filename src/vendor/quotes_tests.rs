use super::*;

/// The numbers in the ASA's guide to its log, with the severity under which it lists each.
const ASA_MESSAGES: &[(&str, u8)] = &[
    ("113019", 4),
    ("402116", 4),
    ("402117", 4),
    ("402119", 4),
    ("402120", 4),
    ("713906", 7),
    ("717009", 3),
    ("717031", 4),
    ("717037", 4),
    ("750001", 5),
    ("750002", 5),
    ("750003", 4),
    ("750004", 5),
    ("750005", 5),
    ("750006", 5),
    ("750007", 5),
    ("750008", 5),
    ("750009", 5),
    ("750010", 5),
    ("750011", 3),
    ("750012", 4),
    ("750013", 5),
    ("750014", 4),
    ("750015", 4),
    ("751001", 3),
    ("751002", 3),
    ("751004", 3),
    ("751006", 3),
    ("751008", 3),
    ("751009", 3),
    ("751010", 3),
    ("751015", 4),
    ("751016", 4),
    ("751019", 4),
    ("751022", 3),
    ("751027", 4),
    ("751028", 5),
    ("752002", 7),
    ("752003", 5),
    ("752006", 3),
    ("752009", 4),
    ("752010", 4),
    ("752012", 4),
    ("752015", 3),
    ("752017", 4),
    ("753001", 4),
];

#[test]
fn a_quote_says_enough_and_once() {
    for (n, quote) in QUOTES.iter().enumerate() {
        assert!(words(quote.words).len() > 7, "{quote:?} is found in too much");
        assert_ne!(quote.evidence(), Evidence::Inferred, "{quote:?}: {:?} shows and documents nothing", quote.source);
        let twin =
            QUOTES[..n].iter().find(|o| o.vendor == quote.vendor && o.words == quote.words && o.source == quote.source);
        assert!(twin.is_none(), "{quote:?} stands twice");
        assert!(!of(quote.vendor, quote.words).is_empty(), "{quote:?} is not found in itself");
    }
}

#[test]
fn numbers_of_the_asa_are_those_of_its_guide() {
    let mut seen = 0;
    for quote in QUOTES.iter().filter(|q| q.words.starts_with("%ASA-") || q.words.starts_with("%FTD-")) {
        let (severity, rest) = quote.words[5..].split_once('-').expect("a severity");
        let number = &rest[..6];
        let known = ASA_MESSAGES.iter().find(|(id, _)| *id == number);
        assert_eq!(known.map(|(_, level)| level.to_string()).as_deref(), Some(severity), "{quote:?}");
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_message_is_not_explained_by_its_reason_alone() {
    let debug = "debug crypto ikev2 protocol: Failed to find a matching policy";
    assert_eq!(sources("cisco-asa", debug, Evidence::Observed), [Source::CiscoDebug]);
    let syslog = "%ASA-4-750003: Local:... IKEv2 Negotiation aborted due to ERROR: Failed to find a matching policy";
    assert_eq!(sources("cisco-asa", syslog, Evidence::Observed), []);
    assert_eq!(sources("cisco-asa", syslog, Evidence::Documented), []);
    let seen =
        "%ASA-4-750003: Local:192.0.2.1:500 IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA";
    assert_eq!(sources("cisco-asa", seen, Evidence::Observed), [Source::PingLabz]);
    assert_eq!(sources("cisco-ios-xe", seen, Evidence::Observed), [], "another vendor's");
    assert_eq!(sources("cisco-asa", "%ASA-4-750003: the box caught fire", Evidence::Documented), []);
}
