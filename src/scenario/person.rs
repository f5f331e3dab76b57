//! The person at the box, where no command drives it: told what to do, for which case, how often that will still be and how
//! much time there is; and heard when they say that something is done.

use std::time::Duration;

/// How often somebody who may press Enter is looked at.
pub const LOOK: Duration = Duration::from_millis(200);

/// Whoever reads what a run asks for.
pub struct Person {
    tell: Box<dyn FnMut(&str)>,
    entered: Option<Box<dyn FnMut() -> bool>>,
    asked: u32,
    asks: u32,
}

impl Person {
    /// Reads what `tell` is given, and cannot answer.
    pub fn reading(tell: impl FnMut(&str) + 'static) -> Person {
        Person { tell: Box::new(tell), entered: None, asked: 0, asks: 0 }
    }

    /// Can press Enter as well: `entered` says whether they have since it was last called.
    pub fn at_a_keyboard(self, entered: Option<Box<dyn FnMut() -> bool>>) -> Person {
        Person { entered, ..self }
    }

    /// Tells them something.
    pub fn tell(&mut self, text: &str) {
        (self.tell)(text);
    }

    /// How often the run will ask, at most.
    pub fn will_be_asked(&mut self, asks: u32) {
        self.asks = asks;
    }

    /// The cases before could have asked so often: what was not played did not.
    pub fn was_asked(&mut self, asked: u32) {
        self.asked = asked;
    }

    /// Asks for something to be done at the box, for the case `id`.
    pub fn ask(&mut self, id: &str, within: Option<Duration>, words: &str) {
        self.asked += 1;
        let count = format!("[{}/{}]", self.asked, self.asks.max(self.asked));
        let within = within.map_or(String::new(), |span| format!(", within {} s", span.as_secs()));
        (self.tell)(&format!("{count} {id}{within}: {words}"));
    }

    /// Says that the box has `span` to forget what `id` has left there, and that they can make it by `words`. True if they
    /// can say that they have.
    pub fn offer(&mut self, id: &str, span: Duration, words: &str) -> bool {
        let how = match self.entered() {
            // What was typed before means nothing.
            Some(_) => format!("or sooner: {words}; then press Enter here"),
            None => format!("or to be sure: {words}"),
        };
        (self.tell)(&format!("{id}: waiting {} s until the box has forgotten it; {how}", span.as_secs()));
        self.entered.is_some()
    }

    /// Whether they have pressed Enter since this was last asked; `None` if they cannot.
    pub fn entered(&mut self) -> Option<bool> {
        self.entered.as_mut().map(|entered| entered())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_is_asked_says_for_what_how_often_and_how_long() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&told);
        let mut person = Person::reading(move |text| kept.borrow_mut().push(text.to_owned()));
        person.will_be_asked(122);
        person.was_asked(11);
        person.ask("rekey/ignored", Some(Duration::from_secs(60)), "on the firewall, enter: x");
        person.ask("rekey/ignored", None, "please rekey");
        assert!(!person.offer("rekey/ignored", Duration::from_secs(30), "clear it"));
        assert_eq!(
            *told.borrow(),
            [
                "[12/122] rekey/ignored, within 60 s: on the firewall, enter: x",
                "[13/122] rekey/ignored: please rekey",
                "rekey/ignored: waiting 30 s until the box has forgotten it; or to be sure: clear it",
            ]
        );
    }
}
