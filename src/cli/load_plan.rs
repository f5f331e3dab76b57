//! What the command line of `ikelab load` asks for: the workload, its rates and times, and what goes with what.

use std::time::Duration;

use super::exit::CliError;
use super::load::{Args, ArrivalKind, Kind};
use crate::load::arrival::{Schedule, Segment, Spacing};
use crate::load::capacity::{Search, Sought};
use crate::load::peers::{Change, Faulty};
use crate::load::summary::{Capacity, LoadResult};
use crate::load::threshold::{self, Threshold};
use crate::load::traffic;
use crate::load::verdict::Honesty;
use crate::load::workload::{Order, Workload};
use crate::time::{Instant, RealClock};

/// The command line, understood.
pub(super) struct Plan {
    pub(super) order: Order,
    pub(super) thresholds: Vec<Threshold>,
    pub(super) threads: u8,
    pub(super) process: (u64, u64),
    pub(super) too_late: Duration,
    pub(super) honesty: Honesty,
    pub(super) faulty: Option<Faulty>,
    pub(super) rules: Vec<crate::fault::Rule>,
    pub(super) start_at: Option<f64>,
    pub(super) search: Option<Search>,
}

impl Plan {
    pub(super) fn read(args: &Args) -> Result<Plan, CliError> {
        let time =
            |flag: &str, text: &str| crate::config::duration(text).map_err(|e| CliError::usage(format!("{flag}: {e}")));
        let length = time("--for", &args.duration)?;
        if length.is_zero() {
            return Err(CliError::usage("--for: must be longer than nothing"));
        }
        let spacing = match args.arrivals {
            ArrivalKind::Even => Spacing::Even,
            ArrivalKind::Poisson => Spacing::Poisson,
        };
        let workload = match args.workload {
            Kind::Setup => Workload::Setup,
            Kind::Serial => Workload::Serial,
            Kind::Closed if args.tunnels.is_none() => {
                return Err(CliError::usage("--workload closed: how many --tunnels?"));
            }
            Kind::Closed => Workload::Closed(args.window.max(1)),
            Kind::Hold => Workload::Hold(time("--hold", &args.hold)?),
            Kind::Churn => Workload::Churn(time("--live", &args.live)?),
            Kind::Soak => Workload::Soak { live: time("--live", &args.live)?, settle: Duration::ZERO },
            Kind::Storm => Workload::Storm,
            Kind::Failover => Workload::Failover(time("--hold", &args.hold)?),
            Kind::RekeyIke | Kind::RekeyChild => {
                let over = time("--over", &args.over)?;
                Workload::Rekey { ike: args.workload == Kind::RekeyIke, over }
            }
            Kind::Children if args.children == 0 => return Err(CliError::usage("--children: at least one")),
            Kind::Children => Workload::Children { each: args.children, over: time("--over", &args.over)? },
            Kind::Traffic => {
                let length = time("--hold", &args.hold)?;
                if length.is_zero() {
                    return Err(CliError::usage("--hold: must be longer than nothing"));
                }
                Workload::Traffic { length }
            }
            Kind::Flood => Workload::Flood,
            Kind::Tunnels => Workload::Tunnels,
        };
        // Only churn begins a tunnel twice.
        let churns = matches!(args.workload, Kind::Churn | Kind::Soak);
        let limit = args.tunnels.filter(|_| !churns);
        let segments = segments(&args.rate, length, churns)?;
        if args.search && segments.iter().any(|s| s.from != s.to || s.length != length) {
            return Err(CliError::usage(format!(
                "--rate: `{}` with --search, which begins with one rate and finds the others itself",
                args.rate
            )));
        }
        let schedule = Schedule::new(segments, spacing, limit);
        let tunnels = args.tunnels.unwrap_or_else(|| match workload {
            // Enough for the plan, with a quarter to spare.
            Workload::Churn(live) | Workload::Soak { live, .. } => {
                let rate = if args.search { args.max_rate } else { schedule.mean_rate() };
                (rate * live.as_secs_f64() * 1.25).ceil() as u64 + 10
            }
            _ => u64::MAX,
        });
        let tunnels = if workload == Workload::Serial { args.tunnels.unwrap_or(1000) } else { tunnels };
        if tunnels == 0 {
            return Err(CliError::usage("--tunnels: at least one"));
        }
        let delete_rate = match args.delete_rate {
            Some(rate) if rate.is_finite() && rate > 0.0 => rate,
            Some(rate) => return Err(CliError::usage(format!("--delete-rate: {rate} is not a rate"))),
            None => (schedule.mean_rate() * 2.0).max(200.0),
        };
        let texts: Vec<&str> = match args.threshold.as_slice() {
            // Nothing is to come up; or something is to be refused.
            [] if matches!(workload, Workload::Flood | Workload::Tunnels) => Vec::new(),
            // What was up is to stay up.
            [] if matches!(workload, Workload::Hold(_) | Workload::Churn(_) | Workload::Soak { .. }) => {
                vec![threshold::DEFAULT, threshold::NONE_LOST]
            }
            [] if matches!(workload, Workload::Traffic { .. }) => {
                vec![threshold::DEFAULT, threshold::NONE_LOST, threshold::CARRIES]
            }
            [] => vec![threshold::DEFAULT],
            given => given.iter().map(String::as_str).collect(),
        };
        let thresholds = texts
            .into_iter()
            .map(|text| Threshold::parse(text).map_err(|e| CliError::usage(format!("--threshold: {e}"))))
            .collect::<Result<_, _>>()?;
        let (faulty, rules) = fault(args, workload)?;
        let honesty = Honesty {
            cpu: percent("--max-cpu", &args.max_cpu)?,
            lag: time("--max-lag", &args.max_lag)?.as_secs_f64() * 1e6,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let drain = time("--drain", &args.drain)?;
        let warm_up = time("--warm-up", &args.warm_up)?;
        if warm_up >= length && !warm_up.is_zero() {
            return Err(CliError::usage(format!(
                "--warm-up: {} is not shorter than --for {}, so nothing would be measured",
                args.warm_up, args.duration
            )));
        }
        let rest = time("--rest", &args.rest)?;
        let thresholds: Vec<Threshold> = thresholds;
        if args.search && (args.max_rate.is_nan() || args.max_rate <= 0.0) {
            return Err(CliError::usage("--search: with a --max-rate above 0"));
        }
        if args.trials == 0 {
            return Err(CliError::usage("--trials: at least one"));
        }
        let process = process(args.shard.as_deref())?;
        if args.search && process.1 > 1 {
            return Err(CliError::usage(
                "--search: each shard would look for a limit of its own; search on one machine, or give all shards the same \
                 --rate and raise it from run to run",
            ));
        }
        if workload == Workload::Serial && process.1 > 1 {
            return Err(CliError::usage("--workload serial: one tunnel after the other is not for several shards"));
        }
        let sought = args.search.then(|| sought(workload, args.tunnels, schedule.mean_rate())).transpose()?;
        let search = sought.map(|of| Search {
            of,
            from: schedule.mean_rate(),
            up_to: args.max_rate,
            length,
            warm_up,
            trials: args.trials,
            precision: 0.05,
            thresholds: thresholds.clone(),
            drain,
            delete_rate,
            rest,
            curve: !args.no_curve,
        });
        let threads = match args.threads {
            Some(0) => return Err(CliError::usage("--threads: at least one")),
            Some(threads) => threads,
            None => u8::try_from(cores).unwrap_or(u8::MAX),
        };
        Ok(Plan {
            order: Order {
                workload,
                schedule,
                tunnels,
                warm_up,
                drain,
                delete_rate: (!args.keep && workload != Workload::Flood).then_some(delete_rate),
                start: None,
                offers: offers(&args.offer)?,
                spacing,
                trials: args.trials,
            },
            thresholds,
            // The order of tunnels is the question.
            threads: if matches!(workload, Workload::Serial | Workload::Tunnels) { 1 } else { threads },
            process,
            too_late: time("--too-late", &args.too_late)?,
            honesty,
            faulty,
            rules,
            start_at: args.start_at,
            search,
        })
    }

    /// How many tunnels the run is to have; a search for the rate of rekeys brings up all of them first.
    pub(super) fn configured(&self) -> u64 {
        match self.search.as_ref().map(|search| search.of) {
            Some(Sought::Rekeys { tunnels, .. }) => tunnels,
            _ => self.order.configured(),
        }
    }

    /// A word about tunnels that were asked for and that the rate does not begin in the time.
    pub(super) fn fewer(&self) -> Option<String> {
        let (wanted, planned) = (self.order.tunnels, self.order.schedule.total());
        (self.search.is_none() && self.is_planned() && wanted != u64::MAX && planned < wanted).then(|| {
            format!(
                "{:.1} per second for {} makes {planned} of the {wanted} --tunnels: for all of them, raise --rate or --for",
                self.order.schedule.mean_rate(),
                crate::config::duration_words(self.order.schedule.length())
            )
        })
    }

    /// How many numbers of tunnels there can be, all shards together: who is beyond that is never played.
    pub(super) fn numbers(&self) -> u64 {
        let planned = match &self.search {
            // How far it comes is the question.
            Some(_) => UNKNOWN,
            None if !self.is_planned() => u64::MAX,
            None => {
                let mean = self.order.schedule.planned(-1.0, f64::MAX);
                // Random arrivals can be more than their mean.
                let more = if self.order.spacing == Spacing::Poisson { 10.0 * mean.sqrt() } else { 0.0 };
                (mean + more).ceil() as u64
            }
        };
        self.order.tunnels.min(planned)
    }

    /// Whether the schedule says how many tunnels there are, and not their number how long it takes.
    fn is_planned(&self) -> bool {
        !matches!(
            self.order.workload,
            Workload::Churn(_) | Workload::Soak { .. } | Workload::Serial | Workload::Closed(_)
        )
    }

    /// When the first stage begins, on the run's clock.
    pub(super) fn start(&self, clock: RealClock) -> Result<Option<Instant>, CliError> {
        let Some(at) = self.start_at else { return Ok(None) };
        let ahead = at - clock.epoch().0 as f64 / 1e9;
        if ahead < clock.now().as_secs_f64() {
            return Err(CliError::usage(format!("--start-at: {at} has passed already")));
        }
        if ahead > 86_400.0 {
            return Err(CliError::usage(format!("--start-at: {at} is more than a day ahead")));
        }
        Ok(Some(Instant((ahead * 1e9) as u64)))
    }
}

/// As many tunnels as anybody has, where nobody says how many there are.
const UNKNOWN: u64 = 1 << 20;

/// Of what `--search` searches the largest rate.
fn sought(workload: Workload, tunnels: Option<u64>, set_up: f64) -> Result<Sought, CliError> {
    match (workload, tunnels) {
        (Workload::Setup, _) => Ok(Sought::SetUps),
        (Workload::Churn(live), _) => Ok(Sought::Churn(live)),
        (Workload::Rekey { over, .. }, _) if !over.is_zero() => {
            Err(CliError::usage("--search: it decides itself how fast tunnels are rekeyed, so leave --over away"))
        }
        (Workload::Rekey { ike, .. }, Some(tunnels)) => Ok(Sought::Rekeys { ike, tunnels, set_up }),
        (Workload::Rekey { .. }, None) => Err(CliError::usage("--search: how many --tunnels are to be rekeyed?")),
        _ => Err(CliError::usage("--search: with --workload setup, churn, rekey-ike or rekey-child")),
    }
}

/// `20M,50M`, in rising order.
fn offers(text: &str) -> Result<Vec<f64>, CliError> {
    let rates: Option<Vec<f64>> = text.split(',').map(traffic::parse_bits).collect();
    match rates {
        Some(rates) if rates.is_sorted() => Ok(rates),
        Some(_) => Err(CliError::usage(format!("--offer: `{text}` does not rise"))),
        None => Err(CliError::usage(format!(
            "--offer: `{text}` is not a list of rates in bits per second, from 1k to 1000G, like 20M,50M,100M"
        ))),
    }
}

/// `100`, `50..500` or `100,200,400`.
fn segments(text: &str, length: Duration, comes_and_goes: bool) -> Result<Vec<Segment>, CliError> {
    let wrong = || {
        CliError::usage(format!("--rate: `{text}` is not a rate like 100, a ramp like 50..500, or steps like 100,200"))
    };
    if let Some((share, dir)) = text.split_once("%:") {
        let rate = share_of(share, dir, comes_and_goes).map_err(|e| CliError::usage(format!("--rate: {e}")))?;
        return Ok(vec![Segment { from: rate, to: rate, length }]);
    }
    let number = |t: &str| t.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0 && *n <= 1e7);
    let segments = if let Some((from, to)) = text.split_once("..") {
        vec![Segment { from: number(from).ok_or_else(wrong)?, to: number(to).ok_or_else(wrong)?, length }]
    } else {
        let steps: Vec<f64> = text.split(',').map(number).collect::<Option<_>>().ok_or_else(wrong)?;
        let each = length / u32::try_from(steps.len()).map_err(|_| wrong())?;
        steps.into_iter().map(|rate| Segment { from: rate, to: rate, length: each }).collect()
    };
    if segments.iter().all(|s| s.from + s.to <= 0.0) { Err(wrong()) } else { Ok(segments) }
}

/// So many percent of the rate that an earlier search has found; `dir` is what that run has left.
/// What a churn can do stands in a search of a churn as well as in one of set-ups.
fn share_of(percent: &str, dir: &str, comes_and_goes: bool) -> Result<f64, String> {
    let share = percent.trim().parse::<f64>().ok().filter(|p| *p > 0.0 && *p <= 1000.0);
    let share = share.ok_or_else(|| format!("`{percent}%` is not a share like 80%"))? / 100.0;
    let path = std::path::Path::new(dir).join("result.json");
    let text = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let result: LoadResult =
        serde_json::from_slice(&text).map_err(|e| format!("{} is not of a load run: {e}", path.display()))?;
    let found = result.capacity.filter(|found| {
        found.median > 0.0 && (found.of == Capacity::SET_UPS || comes_and_goes && found.of == Capacity::CHURN)
    });
    Ok(found.ok_or_else(|| format!("{} holds no rate of set-ups that a --search has found", path.display()))?.median
        * share)
}

fn percent(flag: &str, text: &str) -> Result<f64, CliError> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    match number.filter(|p| (0.0..=100.0).contains(p)) {
        Some(percent) => Ok(percent / 100.0),
        None => Err(CliError::usage(format!("{flag}: `{text}` is not a percentage from 0% to 100%"))),
    }
}

/// `i/n`, or what Kubernetes sets for an Indexed Job. Half of the latter would make every pod do the whole run, all of them
/// with the same identities.
fn process(given: Option<&str>) -> Result<(u64, u64), CliError> {
    let from_job = || match (std::env::var("JOB_COMPLETION_INDEX").ok(), std::env::var("IKELAB_SHARDS").ok()) {
        (None, None) => Ok(None),
        (Some(index), Some(shards)) => Ok(Some(("JOB_COMPLETION_INDEX/IKELAB_SHARDS", format!("{index}/{shards}")))),
        (Some(_), None) => Err(CliError::usage(
            "JOB_COMPLETION_INDEX is set and IKELAB_SHARDS is not: set it to the job's completions, or give --shard",
        )),
        (None, Some(_)) => Err(CliError::usage(
            "IKELAB_SHARDS is set and JOB_COMPLETION_INDEX is not: give the job completionMode: Indexed, or give --shard",
        )),
    };
    let given = given.map(|text| ("--shard", text.to_owned()));
    let Some((from, text)) = given.map_or_else(from_job, |given| Ok(Some(given)))? else { return Ok((0, 1)) };
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
    match parts {
        Some((i, n)) if i < n && n <= 4096 => Ok((i, n)),
        _ => Err(CliError::usage(format!("{from}: `{text}` is not like 0/4, counted from 0"))),
    }
}

/// The share of tunnels with a fault: a wrong setting, or a rule.
fn fault(args: &Args, workload: Workload) -> Result<(Option<Faulty>, Vec<crate::fault::Rule>), CliError> {
    use crate::fault::{Action, Rule, When, table};
    use crate::load::peers::FAULTY;
    use crate::wire::registry::ExchangeType;
    let share = match workload {
        Workload::Flood => 1.0,
        _ => percent("--fault-share", &args.fault_share)?,
    };
    let name = match (workload, args.fault.as_deref()) {
        (Workload::Flood, None) => "half-open",
        (_, Some(name)) => name,
        (_, None) => return Ok((None, Vec::new())),
    };
    let tunnels = Some(FAULTY..u64::MAX);
    let (change, rules) = match name {
        "bad-psk" => (Change::BadPsk, Vec::new()),
        "bad-proposal" => (Change::BadProposal, Vec::new()),
        "half-open" => {
            let when = When {
                initiator: Some(true),
                exchange: Some(ExchangeType::IKE_AUTH),
                response: Some(false),
                tunnels,
                ..When::default()
            };
            (Change::None, vec![Rule { name: "half-open".into(), when, action: Action::DropSent, times: None }])
        }
        name => {
            let row = table::find(name)
                .map_err(|e| CliError::usage(format!("--fault: {e}; or bad-psk, bad-proposal, half-open")))?;
            let mut rule = row.rule(&Default::default(), None).map_err(|e| CliError::usage(format!("--fault: {e}")))?;
            rule.when.tunnels = tunnels;
            (Change::None, vec![rule])
        }
    };
    Ok((Some(Faulty { per_mille: (share * 1000.0).round() as u32, change }), rules))
}
