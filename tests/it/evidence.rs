//! What is printed about vendors' boxes: nothing is called observed or documented that stands in no work of the closed list.

use std::collections::BTreeMap;

use ikelab::scenario::file::Evidence;
use ikelab::vendor::evidence::Source;
use ikelab::vendor::persona::{Basis, Persona};
use ikelab::vendor::quotes;

#[test]
fn scenarios_say_observed_and_documented_of_nothing_else() {
    let all = ikelab::scenario::load::embedded().unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &all {
        for (vendor, symptoms) in &one.scenario.symptoms {
            for symptom in symptoms.iter() {
                for line in symptom.quoted() {
                    *counts.entry(symptom.evidence.name()).or_default() += 1;
                    if symptom.evidence == Evidence::Inferred
                        || !quotes::sources(vendor.as_str(), line, symptom.evidence).is_empty()
                    {
                        continue;
                    }
                    let better: Vec<String> = quotes::of(vendor.as_str(), line)
                        .iter()
                        .map(|q| format!("{} in {}", q.evidence().name(), q.source.title()))
                        .collect();
                    wrong += &format!(
                        "{} {}: {}: {line}\n    known: {better:?}\n",
                        one.scenario.id,
                        vendor.as_str(),
                        symptom.evidence.name()
                    );
                }
            }
        }
    }
    println!("lines and facts of the catalogue: {counts:?}");
    assert!(wrong.is_empty(), "stands in no work (src/vendor/quotes.rs), so it is inferred:\n{wrong}");
    assert!(counts["observed"] > 100 && counts["documented"] > 50, "{counts:?}");
}

#[test]
fn habits_of_personas_name_a_work_that_can_back_them() {
    for persona in Persona::ALL {
        for habit in persona.habits {
            let source = Source::ALL.iter().find(|source| habit.source.starts_with(source.title()));
            let source = source.unwrap_or_else(|| panic!("{}: {:?} is on no list", persona.name, habit.source));
            let best = source.backs();
            let fits = match habit.basis {
                Basis::Observed => best == Evidence::Observed,
                Basis::Documented => best == Evidence::Documented,
                Basis::Modelled => true,
            };
            assert!(fits, "{}: {}: {:?} from {:?}", persona.name, habit.text, habit.basis, habit.source);
        }
    }
}

/// What fixes tell people to type is known from somewhere, or is marked as what it is.
#[test]
fn commands_of_fixes_are_mostly_known() {
    let all = ikelab::scenario::load::embedded().unwrap_or_else(|error| panic!("{error}"));
    let (mut known, mut inferred, mut advice) = (0, Vec::new(), 0);
    for one in &all {
        for (vendor, lines) in &one.scenario.fix {
            for line in lines {
                match ikelab::vendor::commands::evidence(vendor.as_str(), line) {
                    Some(Evidence::Inferred) => {
                        inferred.push(format!("{}: {}: {line}", one.scenario.id, vendor.as_str()))
                    }
                    Some(_) => known += 1,
                    None => advice += 1,
                }
            }
        }
    }
    println!("commands of fixes: {known} as published, {} inferred; {advice} lines of advice", inferred.len());
    // One in twenty: more would mean that the lists in src/vendor/commands.rs were not kept.
    assert!(inferred.len() * 20 <= known, "not on the lists:\n{}", inferred.join("\n"));
}
