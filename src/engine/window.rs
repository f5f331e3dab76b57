//! Message ids, the outstanding request, and the cached response (RFC 7296 2.1 to 2.3). Window size 1 each way.
//!
//! Message ids come from here and from nowhere else.

use std::collections::VecDeque;
use std::time::Duration;

use super::spec::RetransmitSpec;
use crate::time::Instant;
use crate::wire::registry::ExchangeType;

/// Both directions' message ids of one IKE SA.
#[derive(Debug, Default)]
pub(super) struct Window {
    next_request: u32,
    next_expected: u32,
    outstanding: Option<Box<Outstanding>>,
    invented: Option<Box<Invented>>,
    cached: Option<Cached>,
}

/// Requests that whoever bends the engine has sent under the ids that come next. One that is answered has taken its id; what
/// is not answered in time has not, and the next honest request bears it.
#[derive(Debug)]
struct Invented {
    /// The id of the first one.
    first: u32,
    /// Their exchanges, in the order of their ids, without a gap.
    exchanges: Vec<ExchangeType>,
    /// Until when honest requests wait for answers to them.
    deadline: Instant,
}

impl Invented {
    /// The id behind the last one.
    fn end(&self) -> u32 {
        self.first.wrapping_add(self.exchanges.len() as u32)
    }

    fn has(&self, id: u32, exchange: ExchangeType) -> bool {
        self.exchanges.get(id.wrapping_sub(self.first) as usize) == Some(&exchange)
    }
}

/// Our request that waits for its response.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// Its message id.
    pub id: u32,
    /// Its exchange.
    pub exchange: ExchangeType,
    /// What was sent, to be sent again bit for bit.
    pub datagrams: Vec<Vec<u8>>,
    /// Transmissions so far.
    pub sent: u8,
    /// When it was first sent.
    pub first_sent: Instant,
    /// When it is due again, or given up.
    pub deadline: Option<Instant>,
}

/// Our last response. All but a fragmented one is a single datagram, and is then kept in one allocation.
#[derive(Debug)]
struct Cached {
    id: u32,
    first: Box<[u8]>,
    #[allow(clippy::box_collection)] // one word, since nearly always there are none
    others: Option<Box<Vec<Box<[u8]>>>>,
}

impl Cached {
    fn new(id: u32, datagrams: Vec<Vec<u8>>) -> Self {
        let mut datagrams = datagrams.into_iter().map(Vec::into_boxed_slice);
        let first = datagrams.next().unwrap_or_default();
        let others: Vec<Box<[u8]>> = datagrams.collect();
        Cached { id, first, others: (!others.is_empty()).then(|| Box::new(others)) }
    }
}

/// What a request's message id says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// The next one.
    New,
    /// The last one again: send the cached response again.
    Repeat,
    /// Neither.
    Outside,
}

/// What to do when a retransmission is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Send it again; this is transmission number `attempt` (1 is the first repeat).
    Again {
        /// The repeat's number.
        attempt: u8,
    },
    /// Give up.
    GiveUp {
        /// Transmissions made.
        attempts: u8,
    },
}

impl Window {
    /// The id of our next request.
    pub(super) fn next_request(&self) -> u32 {
        self.invented.as_ref().map_or(self.next_request, |invented| invented.end())
    }

    /// Nothing of ours waits for an answer.
    pub(super) fn idle(&self) -> bool {
        self.outstanding.is_none() && self.invented.is_none()
    }

    /// Somebody else has sent a protected request in our name. If its id is the next one, honest requests wait until it is
    /// answered, or until `deadline`.
    pub(super) fn invented(&mut self, id: u32, exchange: ExchangeType, deadline: Instant) {
        if id != self.next_request() {
            return;
        }
        let fresh = || Box::new(Invented { first: id, exchanges: Vec::new(), deadline });
        let invented = self.invented.get_or_insert_with(fresh);
        invented.exchanges.push(exchange);
        invented.deadline = deadline;
    }

    /// If this is the answer to an invented request, its id is taken, and true is returned.
    pub(super) fn invented_answered(&mut self, id: u32, exchange: ExchangeType) -> bool {
        let Some(invented) = self.invented.as_ref().filter(|invented| invented.has(id, exchange)) else { return false };
        // The peer takes requests in their order: earlier ones have no answer to come.
        self.next_request = self.next_request.max(id.wrapping_add(1));
        if self.next_request == invented.end() {
            self.invented = None;
        }
        true
    }

    /// Gives up waiting for answers to invented requests; true if there was something to wait for.
    pub(super) fn invented_lapsed(&mut self, now: Instant) -> bool {
        self.invented.take_if(|invented| invented.deadline <= now).is_some()
    }

    /// Our outstanding request.
    pub(super) fn outstanding(&self) -> Option<&Outstanding> {
        self.outstanding.as_deref()
    }

    /// Notes a request as sent. The caller checked that the window is open.
    pub(super) fn sent(&mut self, id: u32, exchange: ExchangeType, datagrams: Vec<Vec<u8>>, now: Instant) {
        debug_assert!(self.idle(), "window size 1");
        self.next_request = id.wrapping_add(1);
        self.outstanding =
            Some(Box::new(Outstanding { id, exchange, datagrams, sent: 1, first_sent: now, deadline: None }));
    }

    /// What is sent from now on in place of the outstanding request: the same, split otherwise.
    pub(super) fn resplit(&mut self, datagrams: Vec<Vec<u8>>) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.datagrams = datagrams;
        }
    }

    /// What answers repeats from now on: the same response, split otherwise.
    pub(super) fn resplit_response(&mut self, datagrams: Vec<Vec<u8>>) {
        if let Some(id) = self.cached.as_ref().map(|c| c.id) {
            self.cached = Some(Cached::new(id, datagrams));
        }
    }

    /// Sets when the outstanding request is due again.
    pub(super) fn arm(&mut self, deadline: Option<Instant>) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.deadline = deadline;
        }
    }

    /// IKE_SA_INIT starts over with the same message id 0 (COOKIE, INVALID_KE_PAYLOAD: RFC 7296 2.6, 2.7).
    pub(super) fn restart(&mut self) {
        self.outstanding = None;
        self.invented = None;
        self.next_request = 0;
    }

    /// True if a response with this id and exchange is awaited.
    pub(super) fn awaits(&self, id: u32, exchange: ExchangeType) -> bool {
        self.outstanding.as_ref().is_some_and(|o| o.id == id && o.exchange == exchange)
            || self.invented.as_ref().is_some_and(|invented| invented.has(id, exchange))
    }

    /// The awaited response was accepted; returns when the request was first sent.
    pub(super) fn answered(&mut self) -> Option<Box<Outstanding>> {
        self.outstanding.take()
    }

    /// When the outstanding request wants attention, or an invented one is waited for no longer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let ours = self.outstanding.as_ref().and_then(|o| o.deadline);
        ours.into_iter().chain(self.invented.as_ref().map(|invented| invented.deadline)).min()
    }

    /// The outstanding request is due at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.outstanding.as_ref().and_then(|o| o.deadline).is_some_and(|at| at <= now)
    }

    /// The outstanding request is due: again, or never more.
    pub(super) fn due(&mut self, spec: &RetransmitSpec) -> Option<Due> {
        let outstanding = self.outstanding.as_mut()?;
        if outstanding.sent >= spec.attempts {
            return Some(Due::GiveUp { attempts: outstanding.sent });
        }
        let attempt = outstanding.sent;
        outstanding.sent += 1;
        Some(Due::Again { attempt })
    }

    /// What a request with this id is.
    pub(super) fn arrival(&self, id: u32) -> Arrival {
        if id == self.next_expected {
            Arrival::New
        } else if self.cached.as_ref().is_some_and(|c| c.id == id) {
            Arrival::Repeat
        } else {
            Arrival::Outside
        }
    }

    /// A request was accepted and answered with these datagrams, which replace the last ones.
    pub(super) fn respond(&mut self, id: u32, datagrams: Vec<Vec<u8>>) {
        self.next_expected = id.wrapping_add(1);
        self.cached = Some(Cached::new(id, datagrams));
    }

    /// The cached response.
    pub(super) fn cached(&self) -> impl Iterator<Item = &[u8]> {
        let datagrams = self
            .cached
            .iter()
            .flat_map(|c| std::iter::once(&c.first).chain(c.others.iter().flat_map(|others| others.iter())));
        datagrams.map(|d| &**d).filter(|d| !d.is_empty())
    }
}

/// The wait after transmission `attempt` (0 is the first), varied by up to `jitter_percent` with `noise` in 0..=u32::MAX.
pub(super) fn wait(spec: &RetransmitSpec, attempt: u8, noise: u32) -> Duration {
    let honest = spec.wait(attempt);
    if spec.jitter_percent == 0 {
        return honest;
    }
    let span = honest * u32::from(spec.jitter_percent) / 100;
    let offset = span.mul_f64(2.0 * f64::from(noise) / f64::from(u32::MAX));
    (honest + offset).saturating_sub(span)
}

/// Requests that wait for the window to open.
pub(super) type Queue = VecDeque<super::info::Request>;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RetransmitSpec {
        RetransmitSpec {
            initial: Duration::from_secs(1),
            factor_percent: 200,
            max_wait: Duration::from_secs(5),
            attempts: 4,
            jitter_percent: 0,
        }
    }

    #[test]
    fn backs_off_exponentially_up_to_a_limit() {
        let waits: Vec<u64> = (0..5).map(|n| wait(&spec(), n, 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        assert_eq!(spec().total(), Duration::from_secs(12));
    }

    #[test]
    fn jitter_stays_within_its_percentage() {
        let spec = RetransmitSpec { jitter_percent: 10, ..spec() };
        assert_eq!(wait(&spec, 0, 0), Duration::from_millis(900));
        assert_eq!(wait(&spec, 0, u32::MAX), Duration::from_millis(1100));
    }

    #[test]
    fn ids_count_from_zero_and_a_restart_keeps_zero() {
        let mut window = Window::default();
        assert_eq!(window.next_request(), 0);
        window.sent(0, ExchangeType::IKE_SA_INIT, vec![vec![1]], Instant::ZERO);
        window.restart();
        assert_eq!(window.next_request(), 0);
        window.sent(0, ExchangeType::IKE_SA_INIT, vec![vec![2]], Instant::ZERO);
        assert!(window.awaits(0, ExchangeType::IKE_SA_INIT));
        assert!(!window.awaits(0, ExchangeType::IKE_AUTH));
        assert!(window.answered().is_some());
        assert_eq!(window.next_request(), 1);
        assert!(!window.awaits(0, ExchangeType::IKE_SA_INIT));
    }

    #[test]
    fn a_repeat_is_known_and_a_stranger_is_outside() {
        let mut window = Window::default();
        assert_eq!(window.arrival(0), Arrival::New);
        assert_eq!(window.arrival(1), Arrival::Outside);
        window.respond(0, vec![vec![9, 9]]);
        assert_eq!(window.arrival(0), Arrival::Repeat);
        assert_eq!(window.cached().collect::<Vec<_>>(), [&[9, 9][..]]);
        window.respond(1, vec![]);
        assert_eq!(window.arrival(0), Arrival::Outside);
        assert_eq!(window.arrival(2), Arrival::New);
        assert_eq!(window.arrival(u32::MAX), Arrival::Outside);
    }

    #[test]
    fn an_invented_request_takes_its_id_once_it_is_answered() {
        let (info, odd) = (ExchangeType::INFORMATIONAL, ExchangeType(240));
        let mut window = Window::default();
        window.sent(6, info, vec![], Instant::ZERO);
        window.invented(900, info, Instant::from_millis(5));
        assert_eq!((window.next_request(), window.invented_answered(900, info)), (7, false), "not the next one");
        window.invented(7, info, Instant::from_millis(5));
        window.invented(8, odd, Instant::from_millis(7));
        window.invented(9, info, Instant::from_millis(7));
        assert_eq!(window.next_request(), 10);
        assert!(window.awaits(6, info) && window.awaits(8, odd) && !window.awaits(8, info) && !window.awaits(10, info));
        assert!(window.answered().is_some() && !window.idle());
        assert!(window.invented_answered(7, info) && window.invented_answered(8, odd));
        assert_eq!((window.deadline(), window.is_due(Instant::from_millis(9))), (Some(Instant::from_millis(7)), false));
        assert!(!window.invented_lapsed(Instant::from_millis(6)) && window.invented_lapsed(Instant::from_millis(7)));
        assert_eq!((window.next_request(), window.idle()), (9, true), "the last one was not answered");
        window.invented(9, info, Instant::from_millis(9));
        assert!(window.invented_answered(9, info) && window.idle());
        assert_eq!(window.next_request(), 10);
    }

    #[test]
    fn gives_up_after_all_attempts() {
        let mut window = Window::default();
        window.sent(0, ExchangeType::IKE_SA_INIT, vec![], Instant::ZERO);
        let spec = spec();
        assert_eq!(window.due(&spec), Some(Due::Again { attempt: 1 }));
        assert_eq!(window.due(&spec), Some(Due::Again { attempt: 2 }));
        assert_eq!(window.due(&spec), Some(Due::Again { attempt: 3 }));
        assert_eq!(window.due(&spec), Some(Due::GiveUp { attempts: 4 }));
    }
}
