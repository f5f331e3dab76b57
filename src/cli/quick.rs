//! A connection from flags, without a file.

use std::path::PathBuf;
use std::sync::Arc;

use super::exit::CliError;
use crate::config::{self, ControlSpec, Loaded, PeerFacts};
use crate::crypto::Secret;
use crate::engine::{
    AuthSpec, Behaviour, ChildSpec, ConnectionSpec, DpdMode, DpdSpec, IdMatch, Mode, NatSpec, Ports, RetransmitSpec,
};

/// Flags that stand for a connection file.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Without a connection file")]
pub struct Quick {
    /// File with the pre-shared key
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    psk_file: Option<PathBuf>,
    /// Environment variable with the pre-shared key
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "psk_file"])]
    psk_env: Option<String>,
    /// IKE proposal, may be repeated [default: aes256gcm16-prfsha384-ecp384, aes256-sha256-modp2048]
    #[arg(long, value_name = "WORDS", conflicts_with = "config")]
    proposal: Vec<String>,
    /// ESP proposal, may be repeated [default: aes256gcm16, aes256-sha256]
    #[arg(long, value_name = "WORDS", conflicts_with = "config")]
    esp: Vec<String>,
    /// Our identity [default: our address]
    #[arg(long, value_name = "ID", conflicts_with = "config")]
    local_id: Option<String>,
    /// The identity we expect [default: any]
    #[arg(long, value_name = "ID", conflicts_with = "config")]
    remote_id: Option<String>,
    /// Traffic selector of our side, may be repeated [default: 0.0.0.0/0]
    #[arg(long, value_name = "NET", conflicts_with = "config")]
    local_ts: Vec<String>,
    /// Traffic selector of the peer's side, may be repeated [default: 0.0.0.0/0]
    #[arg(long, value_name = "NET", conflicts_with = "config")]
    remote_ts: Vec<String>,
    /// The peer's UDP port for IKE
    #[arg(long, value_name = "PORT", default_value_t = 500, conflicts_with = "config")]
    peer_port: u16,
    /// The peer's UDP port for NAT traversal
    #[arg(long, value_name = "PORT", default_value_t = 4500, conflicts_with = "config")]
    peer_natt_port: u16,
}

impl Quick {
    /// Makes the connection; the peer's address is still missing.
    pub fn build(&self) -> Result<Loaded, CliError> {
        let wrong = |flag: &'static str| move |why: String| CliError::usage(format!("{flag}: {why}"));
        let (auth, mut warnings) = self.auth()?;
        let or_default = |given: &[String], default: &[&str]| -> Vec<String> {
            if given.is_empty() { default.iter().map(|s| (*s).to_owned()).collect() } else { given.to_vec() }
        };
        let mut ike_proposals = Vec::new();
        for words in or_default(&self.proposal, &["aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"]) {
            ike_proposals.push(config::ike_proposal(&words).map_err(wrong("--proposal"))?);
        }
        let (mut proposals, mut pfs) = (Vec::new(), Vec::new());
        for words in or_default(&self.esp, &["aes256gcm16", "aes256-sha256"]) {
            let (proposal, groups) = config::esp_proposal(&words).map_err(wrong("--esp"))?;
            proposals.push(proposal);
            pfs.extend(groups.into_iter().filter(|g| !pfs.contains(g)).collect::<Vec<_>>());
        }
        for proposal in ike_proposals.iter().chain(&proposals) {
            warnings.extend(config::weaknesses(proposal).into_iter().map(|why| format!("weak algorithm {why}")));
        }
        let selectors = |flag, given: &[String]| {
            or_default(given, &["0.0.0.0/0"])
                .iter()
                .map(|text| config::selector(text).map_err(wrong(flag)))
                .collect::<Result<Vec<_>, _>>()
        };
        let local_id = self.local_id.as_deref().map(config::identity).transpose().map_err(wrong("--local-id"))?;
        let remote_id = match self.remote_id.as_deref() {
            None | Some("any") => IdMatch::Any,
            Some(text) => IdMatch::Exact(config::identity(text).map_err(wrong("--remote-id"))?),
        };
        let spec = ConnectionSpec {
            name: "quick".into(),
            local_addr: None,
            remote_addr: None,
            local_ports: Ports::default(),
            remote_ports: Ports { ike: self.peer_port, natt: self.peer_natt_port },
            local_id: local_id.clone().unwrap_or_else(|| config::address_id(std::net::Ipv4Addr::UNSPECIFIED.into())),
            remote_id,
            send_idr: false,
            local_auth: auth.clone(),
            remote_auth: auth,
            ike_proposals,
            children: vec![ChildSpec {
                name: "child-1".into(),
                mode: Mode::Tunnel,
                proposals,
                pfs,
                local_ts: selectors("--local-ts", &self.local_ts)?,
                remote_ts: selectors("--remote-ts", &self.remote_ts)?,
                lifetime: None,
            }],
            retransmit: RetransmitSpec::default(),
            nat: NatSpec::default(),
            mobike: None,
            dpd: Some(DpdSpec::new(std::time::Duration::from_secs(10), DpdMode::Periodic)),
            lifetime: None,
            fragmentation: true,
            cp: Default::default(),
            behaviour: Behaviour::default(),
        };
        Ok(Loaded {
            issuer: None,
            source: None,
            spec,
            local_id_pending: local_id.is_none(),
            remote_host: None,
            persona: "plain".into(),
            given: config::Given::default(),
            peer: PeerFacts::default(),
            control: ControlSpec::default(),
            data: config::DataSpec::default(),
            path: crate::link::netem::PathSpec::default(),
            limits: None,
            warnings,
        })
    }

    fn auth(&self) -> Result<(AuthSpec, Vec<String>), CliError> {
        if let Some(file) = &self.psk_file {
            return config::psk_file(file).map_err(|e| CliError::usage(format!("--psk-file: {e}")));
        }
        let Some(name) = &self.psk_env else {
            return Err(CliError::usage(
                "no pre-shared key: give a connection file with -c, or --psk-file or --psk-env",
            ));
        };
        match std::env::var(name) {
            Ok(text) if !text.is_empty() => Ok((AuthSpec::Psk(Arc::new(Secret::new(text.into_bytes()))), Vec::new())),
            _ => Err(CliError::usage(format!("--psk-env: the environment variable {name} is not set"))),
        }
    }
}
