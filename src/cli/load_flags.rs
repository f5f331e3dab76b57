//! Flags of `ikelab load` that would do nothing here: said instead of ignored.

use super::exit::CliError;
use super::load::{Args, ArrivalKind, Kind};

/// A flag of no use where another one stands: its name in clap, its name on the command line, whether it is of use, and
/// what goes for it otherwise.
type Rule = (&'static str, &'static str, bool, &'static str);

/// Refuses flags that this workload, or a search, has no use for. `given` are the flags on the command line, by clap's
/// names.
pub(super) fn check(args: &Args, given: &[String]) -> Result<(), CliError> {
    for (name, flag, of_use, why) in rules(args) {
        if !of_use && given.iter().any(|given| given == name) {
            return Err(CliError::usage(format!("{flag}: {why}")));
        }
    }
    Ok(())
}

fn rules(args: &Args) -> [Rule; 23] {
    let of = |kinds: &[Kind]| kinds.contains(&args.workload);
    let traffic = of(&[Kind::Traffic]);
    // These two go as fast as they can.
    let paced = !of(&[Kind::Serial, Kind::Closed]);
    let unpaced =
        "not with --workload serial or closed, which have no plan: each set-up begins when another one is over";
    let in_order = !of(&[Kind::Serial, Kind::Tunnels]) || args.threads == Some(1);
    let even = matches!(args.arrivals, ArrivalKind::Even);
    [
        ("window", "--window", of(&[Kind::Closed]), "only with --workload closed"),
        (
            "hold",
            "--hold",
            of(&[Kind::Hold, Kind::Failover, Kind::Traffic]),
            "only with --workload hold, failover or traffic",
        ),
        ("live", "--live", of(&[Kind::Churn, Kind::Soak]), "only with --workload churn or soak"),
        (
            "over",
            "--over",
            of(&[Kind::RekeyIke, Kind::RekeyChild, Kind::Children]),
            "only with --workload rekey-ike, rekey-child or children",
        ),
        ("children", "--children", of(&[Kind::Children]), "only with --workload children"),
        ("offer", "--offer", traffic, "only with --workload traffic"),
        ("packet_size", "--packet-size", traffic, "only with --workload traffic"),
        ("echo", "--echo", traffic, "only with --workload traffic"),
        ("udp_echo", "--udp-echo", traffic, "only with --workload traffic"),
        ("trials", "--trials", args.search || of(&[Kind::Tunnels]), "only with --search or --workload tunnels"),
        ("rate", "--rate", paced, unpaced),
        ("duration", "--for", paced, unpaced),
        ("warm_up", "--warm-up", paced, unpaced),
        ("arrivals", "--arrivals", paced, unpaced),
        ("arrivals", "--arrivals", !args.search || even, "not with --search, whose rates are even"),
        ("start_at", "--start-at", !args.search, "not with --search, which is of one machine"),
        ("keep", "--keep", !args.search, "not with --search, which deletes its tunnels after each rate"),
        ("keep", "--keep", !of(&[Kind::Flood]), "not with --workload flood, in which no tunnel comes up"),
        ("delete_rate", "--delete-rate", !of(&[Kind::Flood]), "not with --workload flood, in which no tunnel comes up"),
        ("delete_rate", "--delete-rate", !args.keep, "not with --keep, which deletes nothing"),
        ("fault_share", "--fault-share", !of(&[Kind::Flood]), "not with --workload flood, in which all have the fault"),
        (
            "threads",
            "--threads",
            in_order,
            "not with --workload serial or tunnels, which have one thread: the order counts",
        ),
        (
            "path",
            "--path",
            false,
            "a load run leaves the path as it is: make it bad outside of ikelab, with tc-netem(8) for example",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Parser)]
    struct Load {
        #[command(flatten)]
        args: Args,
    }

    fn checked(line: &str) -> Result<(), String> {
        let line = format!("load 192.0.2.1 {line}");
        let matches = Load::command().get_matches_from(line.split(' '));
        let load = Load::from_arg_matches(&matches).expect(&line);
        check(&load.args, &super::super::given(&matches)).map_err(|error| error.message)
    }

    #[test]
    fn every_rule_is_about_a_flag() {
        let command = Load::command();
        let load = Load::parse_from(["load", "192.0.2.1"]);
        for (name, flag, ..) in rules(&load.args) {
            let arg = command.get_arguments().find(|arg| arg.get_id() == name).expect(name);
            assert_eq!(arg.get_long().map(|long| format!("--{long}")).as_deref(), Some(flag));
        }
        assert_eq!(checked("--rate 5 --for 3s --warm-up 1s --tunnels 9 --threads 2 --keep"), Ok(()));
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (line, flag) in [
            ("--window 8", "--window: only with --workload closed"),
            ("--hold 1s", "--hold: only with --workload hold, "),
            ("--live 10s", "--live: only with --workload churn"),
            ("--over 0s", "--over: only with "),
            ("--offer 1M --workload hold", "--offer: only with --workload traffic"),
            ("--trials 3", "--trials: only with --search"),
            ("--rate 10 --workload closed --tunnels 5", "--rate: not with --workload serial or closed"),
            ("--for 60s --workload serial", "--for: not with --workload serial"),
            ("--warm-up 0s --workload serial", "--warm-up: not with --workload serial"),
            ("--arrivals poisson --search", "--arrivals: not with --search"),
            ("--start-at 5 --search", "--start-at: not with --search"),
            ("--keep --search", "--keep: not with --search"),
            ("--keep --delete-rate 5", "--delete-rate: not with --keep"),
            ("--fault half-open --fault-share 5% --workload flood", "--fault-share: not with --workload flood"),
            ("--threads 2 --workload tunnels", "--threads: not with --workload serial or tunnels"),
            ("--path loss=5%", "--path: a load run leaves the path as it is"),
        ] {
            let error = checked(line).expect_err(line);
            assert!(error.starts_with(flag), "{line}: {error}");
        }
        for line in [
            "--workload closed --tunnels 9 --window 8 --start-at 5 --keep",
            "--workload serial --threads 1 --tunnels 5",
            "--search --arrivals even --trials 1 --warm-up 1s --for 2s",
            "--workload traffic --offer 1M --hold 2s --udp-echo --packet-size 500 --echo 192.0.2.2",
            "--workload tunnels --trials 2 --rate 5",
            "--workload flood --rate 5 --fault half-open",
        ] {
            assert_eq!(checked(line), Ok(()), "{line}");
        }
    }
}
