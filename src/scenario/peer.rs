//! The other end, as a scenario sees it: something that can be made to initiate and to forget.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::auth::eap::{AuthenticatorSpec, Credential, Method, PeerSpec, User};
use crate::drive::{Driver, Queue};
use crate::engine::{
    AuthSpec, ConnectionSpec, CpRequest, CpSpec, Endpoint, EndpointConfig, IdMatch, Limits, PoolSpec, Ports, TunnelId,
};
use crate::link::Link;
use crate::link::udp::{BindError, UdpConfig, UdpLink, Waker};
use crate::net::SocketRole;
use crate::record::Recorder;
use crate::seed::{KeySeed, PlanSeed, Seeds};
use crate::time::RealClock;

/// Drives the other end.
pub trait PeerDriver {
    /// Makes it initiate, or asks for it. `Ok(None)` if it was started; a text if a person has to do something.
    ///
    /// # Errors
    /// In words, if there is no way or it failed.
    fn initiate(&mut self) -> Result<Option<String>, String>;

    /// Makes it forget what it has for us; false if there is no way.
    ///
    /// # Errors
    /// In words, if it failed.
    fn clear(&mut self) -> Result<bool, String>;

    /// What it shows of its state, as text to be kept.
    fn show(&mut self) -> Option<String> {
        None
    }
}

/// The address of the embedded peer.
pub const EMBEDDED_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Our own address when we talk to it.
pub const EMBEDDED_US: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
/// From this many half-open IKE SAs on, the embedded peer demands cookies.
pub const EMBEDDED_COOKIES_FROM: u32 = 4;

/// The embedded peer: an endpoint with its own sockets, seeds, configuration and thread. Nothing is shared with us; what
/// can be done to it is what `control` can do to a box.
pub struct EmbeddedPeer {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

enum Order {
    Initiate,
    Clear(Sender<()>),
    Stop,
}

/// Sockets of both ends on loopback, before either knows the other's ports.
pub struct LoopbackPair {
    /// Ours.
    pub ours: UdpLink,
    /// The embedded peer's.
    pub theirs: UdpLink,
}

impl LoopbackPair {
    /// Binds both on ports that the system chooses.
    ///
    /// # Errors
    /// If loopback sockets cannot be opened.
    pub fn bind(clock: RealClock) -> Result<Self, BindError> {
        let bind = |address| {
            let config = UdpConfig { addresses: vec![address], ike_port: 0, natt_port: 0, ..UdpConfig::default() };
            UdpLink::bind(&config, clock)
        };
        Ok(LoopbackPair { ours: bind(EMBEDDED_US)?, theirs: bind(EMBEDDED_PEER)? })
    }

    /// Writes both ends' addresses and ports into our connection.
    pub fn address(&self, spec: &mut ConnectionSpec) {
        let ports = |link: &UdpLink| Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
        spec.local_addr = Some(EMBEDDED_US);
        spec.remote_addr = Some(EMBEDDED_PEER);
        spec.local_ports = ports(&self.ours);
        spec.remote_ports = ports(&self.theirs);
    }
}

/// The other end of a connection: both sides exchanged, everything else alike.
pub fn mirror(spec: &ConnectionSpec) -> ConnectionSpec {
    let mut mirrored = spec.clone();
    mirrored.name = format!("{}-mirrored", spec.name);
    std::mem::swap(&mut mirrored.local_addr, &mut mirrored.remote_addr);
    std::mem::swap(&mut mirrored.local_ports, &mut mirrored.remote_ports);
    (mirrored.local_auth, mirrored.remote_auth) = (other_end(&spec.remote_auth), other_end(&spec.local_auth));
    mirrored.cp = other_end_cp(&spec.cp);
    for child in &mut mirrored.children {
        std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
    }
    mirrored.remote_id = IdMatch::Exact(spec.local_id.clone());
    if let IdMatch::Exact(id) = &spec.remote_id {
        mirrored.local_id = id.clone();
    } else if let Some(address) = mirrored.local_addr {
        mirrored.local_id = crate::config::address_id(address);
    }
    mirrored
}

/// What the other end needs to do its half of the same authentication.
fn other_end(auth: &AuthSpec) -> AuthSpec {
    match auth {
        AuthSpec::EapPeer(peer) => {
            let password = peer.credentials.iter().find_map(|c| match c {
                Credential::Md5(password) | Credential::MsChapV2(password) => Some(Arc::clone(password)),
                Credential::Tls(_) => None,
            });
            let tls = peer.credentials.iter().find_map(|c| match c {
                Credential::Tls(tls) => Some(Arc::clone(tls)),
                _ => None,
            });
            AuthSpec::EapAuthenticator(Arc::new(AuthenticatorSpec {
                ask_identity: true,
                methods: peer.methods(),
                users: password.map(|p| User { name: peer.identity.clone(), password: Some(p) }).into_iter().collect(),
                tls,
                name: "embedded-peer".to_owned(),
            }))
        }
        AuthSpec::EapAuthenticator(server) => {
            let user = server.users.first();
            let credential = |method: &Method| match (method, user.and_then(|u| u.password.clone()), &server.tls) {
                (Method::Md5, Some(password), _) => Some(Credential::Md5(password)),
                (Method::MsChapV2, Some(password), _) => Some(Credential::MsChapV2(password)),
                (Method::Tls, _, Some(tls)) => Some(Credential::Tls(Arc::clone(tls))),
                _ => None,
            };
            AuthSpec::EapPeer(Arc::new(PeerSpec {
                identity: user.map(|u| u.name.clone()).unwrap_or_default(),
                credentials: server.methods.iter().filter_map(credential).collect(),
            }))
        }
        other => other.clone(),
    }
}

/// Who asks for an inner address meets a pool, and a pool meets somebody who asks.
fn other_end_cp(cp: &CpSpec) -> CpSpec {
    let request = cp.pool.as_ref().map(|pool| CpRequest {
        v4: pool.v4.map(|_| Ipv4Addr::UNSPECIFIED),
        v6: pool.v6.map(|_| Ipv6Addr::UNSPECIFIED),
    });
    let pool = cp.request.as_ref().map(|asked| {
        let v4 = asked.v4.map(|_| (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 254)));
        let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let v6 = asked.v6.map(|_| (v6(1), v6(0xffff)));
        Arc::new(PoolSpec { v4, v6, dns: Vec::new(), split: Vec::new(), required: false, version: None })
    });
    CpSpec { request, pool, dynamic: cp.dynamic.clone() }
}

impl EmbeddedPeer {
    /// Starts it on `link`, for the other end of `spec`. It draws its own keys.
    pub fn start(link: UdpLink, spec: &ConnectionSpec, key: KeySeed) -> Self {
        let spec = Arc::new(mirror(spec));
        let address = SocketAddr::new(EMBEDDED_PEER, link.port(SocketRole::Ike));
        let (orders, inbox) = channel();
        let waker = link.waker();
        let seeds = Seeds::new(PlanSeed::from_text("embedded peer"), key);
        let thread = std::thread::spawn(move || live(link, spec, seeds, &inbox));
        EmbeddedPeer { orders, waker, thread: Some(thread), address }
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn order(&self, order: Order) -> Result<(), String> {
        self.orders.send(order).map_err(|_| "the embedded peer has stopped".to_owned())?;
        self.waker.wake();
        Ok(())
    }
}

impl PeerDriver for EmbeddedPeer {
    fn initiate(&mut self) -> Result<Option<String>, String> {
        self.order(Order::Initiate).map(|()| None)
    }

    fn clear(&mut self) -> Result<bool, String> {
        // Only when it has forgotten may the next packet be sent: it might otherwise begin with the old state.
        let (done, wait) = channel();
        self.order(Order::Clear(done))?;
        wait.recv_timeout(Duration::from_secs(5)).map_err(|_| "the embedded peer does not answer".to_owned())?;
        Ok(true)
    }
}

impl Drop for EmbeddedPeer {
    fn drop(&mut self) {
        let _ = self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The embedded peer's thread.
fn live(link: UdpLink, spec: Arc<ConnectionSpec>, seeds: Seeds, inbox: &Receiver<Order>) {
    let epoch = link.epoch();
    let mut generation = 0;
    let endpoint = |generation: u64| {
        let limits = Limits {
            cookie_threshold: Some(EMBEDDED_COOKIES_FROM),
            linger: Duration::from_millis(200),
            ..Limits::default()
        };
        let config = EndpointConfig {
            connections: vec![Arc::clone(&spec)],
            limits,
            trace: false,
            // The seeds are the same for life: each new endpoint must draw other values.
            salt: generation,
            ..EndpointConfig::default()
        };
        Endpoint::new(Arc::new(config), seeds.clone(), epoch)
    };
    let mut driver = Driver::new(endpoint(generation), link, Recorder::new());
    let mut queue = Queue::default();
    let mut tunnel = 0;
    loop {
        loop {
            match inbox.try_recv() {
                Ok(Order::Initiate) => {
                    let now = driver.link.now();
                    tunnel += 1;
                    driver.endpoint.connect(now, Arc::clone(&spec), TunnelId(tunnel), EMBEDDED_PEER);
                }
                Ok(Order::Clear(done)) => {
                    generation += 1;
                    driver.endpoint = endpoint(generation);
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Ok(Order::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
            }
        }
        if driver.turn(None, &mut queue).is_err() {
            return;
        }
        queue.events.clear();
        queue.notes.clear();
    }
}
