//! What each tier builds and runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::lint;
use super::outcome::Outcome;
use super::simulation::Simulation;
use super::suite::Suite;
use super::tier::Tier;
use wsc_environment::cache::Cache;
use wsc_environment::cargo::{self, Executable};
use wsc_environment::cluster::Cluster;
use wsc_environment::cluster::api_tier::ApiTier;
use wsc_environment::plan::Need;
use wsc_environment::process::output;
use wsc_environment::steps::Steps;
use wsc_environment::variables::{self, Environment};
use wsc_environment::{autobahn, cluster, debian, helm, images, interrupt, kubernetes, machine};

const UNIT_LIMIT: Duration = Duration::from_mins(5);
/// What a life of the simulation takes at most.
const SECOND_PER_LIFE: Duration = Duration::from_secs(1);
const COMPONENT_LIMIT: Duration = Duration::from_mins(15);
/// Tests of the API tier that run at the same time.
const API_THREADS: &str = "6";

const API_LIMIT: Duration = Duration::from_mins(20);
const E2E_LIMIT: Duration = Duration::from_mins(40);
/// These tests wait for pods most of the time: more at once than there are cores.
const E2E_THREADS: &str = "4";

pub(super) fn run(
    tier: Tier,
    cache: &Cache,
    steps: &Steps,
    filter: Option<&str>,
    simulation: Simulation,
) -> Result<Outcome> {
    if tier.needs().contains(&Need::DebianPackages) {
        machine::need_linux(&format!("the tier {}", tier.name()))?;
    }
    match tier {
        Tier::Lint => Ok(lint::run(cache, steps, filter)),
        Tier::Unit => unit(cache, steps, filter, simulation),
        Tier::Component => component(cache, steps, filter),
        Tier::Api => api(cache, steps, filter),
        Tier::E2e => e2e(cache, steps, filter),
    }
}

fn unit(cache: &Cache, steps: &Steps, filter: Option<&str>, simulation: Simulation) -> Result<Outcome> {
    let executables = cargo::unit_tests(cache, steps)?;
    let mut packages: BTreeMap<&str, Outcome> = BTreeMap::new();
    for executable in until_interrupted(&executables) {
        let mut command = Command::new(&executable.path);
        let lives = simulation
            .lives
            .map(|lives| ("SIMULATION_LIVES", lives.to_string()));
        let seed = simulation.seed.map(|seed| ("SIMULATION_SEED", seed.to_string()));
        command.envs(lives.into_iter().chain(seed));
        let limit = UNIT_LIMIT + SECOND_PER_LIFE * simulation.lives.unwrap_or(0);
        let outcome = suite(executable, command, limit, filter).run(cache)?;
        *packages.entry(&executable.package).or_default() += outcome;
    }
    let mut total = Outcome::default();
    for (package, outcome) in packages {
        total += never_empty(package, outcome, filter);
    }
    Ok(total)
}

/// A suite without tests is a failure: it would pass for ever. (With a filter that is no wonder.)
fn never_empty(name: &str, outcome: Outcome, filter: Option<&str>) -> Outcome {
    if filter.is_none() && outcome == Outcome::default() {
        println!("   {name} has no test");
        return Outcome::of(false);
    }
    outcome
}

fn component(cache: &Cache, steps: &Steps, filter: Option<&str>) -> Result<Outcome> {
    machine::packages(steps)?;
    let mut environment = variables::of_repository();
    environment.extend(variables::of_debian(&debian::programs(cache, steps)?));
    let executables =
        cargo::integration_tests(cache, steps, &["wsc-proxy-agent", "wsc-server", "wsc-testing"])?;
    if selects_autobahn(&executables, filter)? {
        environment.extend(variables::of_autobahn(&autobahn::provide(cache, steps)?));
    }
    // The agent runs as in its pod, with servers behind it: as processes.
    let ours = cargo::programs(cache, steps)?;
    environment.extend(variables::of_programs(&ours)?);
    let mut total = Outcome::default();
    for executable in until_interrupted(&executables) {
        let mut command = Command::new(&executable.path);
        command.envs(environment.iter().cloned());
        let outcome = suite(executable, command, COMPONENT_LIMIT, filter).run(cache)?;
        total += never_empty(&executable.target, outcome, filter);
    }
    Ok(total)
}

/// Whether one of the chosen tests runs the Autobahn suite, which needs Python 2.7.
fn selects_autobahn(executables: &[Executable], filter: Option<&str>) -> Result<bool> {
    for executable in executables {
        let mut list = Command::new(&executable.path);
        list.arg("--list").args(filter);
        if output(&mut list)?.contains("autobahn") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn until_interrupted<T>(all: &[T]) -> impl Iterator<Item = &T> {
    all.iter().take_while(|_| !interrupt::happened())
}

fn api(cache: &Cache, steps: &Steps, filter: Option<&str>) -> Result<Outcome> {
    machine::packages(steps)?;
    let programs = kubernetes::build(cache, steps)?;
    let helm = helm::provide(cache, steps)?;
    let executables = cargo::integration_test(cache, steps, "wsc-suites", "api")?;
    let ours = cargo::programs(cache, steps)?;
    let tier = steps.run("API server without nodes", || ApiTier::start(cache, &programs))?;
    let mut environment = variables::of_api_tier(&tier, &programs, &helm);
    environment.extend(variables::of_debian(&debian::programs(cache, steps)?));
    environment.extend(variables::of_programs(&ours)?);
    // These tests mostly wait, so more of them than cores run at the same time.
    environment.push(("RUST_TEST_THREADS", API_THREADS.into()));
    run_in(
        &executables,
        |path| Ok(tier.command(path)),
        &environment,
        API_LIMIT,
        filter,
        cache,
    )
}

fn e2e(cache: &Cache, steps: &Steps, filter: Option<&str>) -> Result<Outcome> {
    let executables = cargo::integration_test(cache, steps, "wsc-suites", "e2e")?;
    let ours = cargo::programs(cache, steps)?;
    let was_running = Cluster::running(cache).is_ok();
    let outcome = on_cluster(cache, steps, filter, &executables, &ours);
    // Who had a cluster before keeps it, as it is.
    if was_running {
        return outcome;
    }
    let checked = (filter.is_none() && !interrupt::happened()).then(|| cluster_commands(cache, steps));
    cluster::down(cache, steps)?;
    let mut total = outcome?;
    total += checked.unwrap_or_default();
    Ok(total)
}

/// The cluster's own commands, each check as a test.
fn cluster_commands(cache: &Cache, steps: &Steps) -> Outcome {
    let mut total = Outcome::default();
    for (name, check) in until_interrupted(&cluster::checks::CHECKS) {
        total += checked(&format!("cluster: {name}"), &check(cache, steps));
    }
    total
}

/// One check as a test.
fn checked(name: &str, result: &Result<()>) -> Outcome {
    if let Err(err) = result {
        println!("{name}: {err:#}");
    }
    let outcome = Outcome::of(result.is_ok());
    println!("   {name:<41} {outcome}");
    outcome
}

/// What is in the images; `test e2e image` checks nothing else.
fn image_checks(cache: &Cache, images: &images::Images, filter: Option<&str>) -> Outcome {
    let mut total = Outcome::default();
    for (name, result) in images::checks::run(cache, images) {
        if filter.is_none_or(|filter| name.contains(filter)) {
            total += checked(&name, &result);
        }
    }
    total
}

fn on_cluster(
    cache: &Cache,
    steps: &Steps,
    filter: Option<&str>,
    executables: &[Executable],
    ours: &cargo::Programs,
) -> Result<Outcome> {
    let cluster = cluster::up(cache, steps, None)?;
    let helm = helm::provide(cache, steps)?;
    let images = images::provide(cache, steps, ours, &cluster)?;
    let _in_use = cache.in_use()?;
    let mut environment = variables::of_cluster(cache, &cluster, &helm)?;
    environment.extend(variables::of_images(&images));
    environment.extend(variables::of_programs(ours)?);
    environment.push(("RUST_TEST_THREADS", E2E_THREADS.into()));
    let place = |path: &Path| cluster.client(path);
    let mut total = image_checks(cache, &images, filter);
    total += run_in(executables, place, &environment, E2E_LIMIT, filter, cache)?;
    Ok(total)
}

/// Runs test programs where `place` puts them.
fn run_in(
    executables: &[Executable],
    place: impl Fn(&Path) -> Result<Command>,
    environment: &Environment,
    limit: Duration,
    filter: Option<&str>,
    cache: &Cache,
) -> Result<Outcome> {
    let mut total = Outcome::default();
    for executable in until_interrupted(executables) {
        let mut command = place(&executable.path)?;
        command.envs(environment.iter().cloned());
        let mut suite = suite(executable, command, limit, filter);
        suite.live = true;
        total += never_empty(&executable.target, suite.run(cache)?, filter);
    }
    Ok(total)
}

fn suite<'a>(
    executable: &Executable,
    mut command: Command,
    limit: Duration,
    filter: Option<&'a str>,
) -> Suite<'a> {
    command
        .current_dir(&executable.folder)
        .env("CARGO_MANIFEST_DIR", &executable.folder);
    let name = if executable.target.replace('_', "-") == executable.package {
        executable.package.clone()
    } else {
        format!("{}/{}", executable.package, executable.target)
    };
    Suite {
        name,
        command,
        limit,
        live: false,
        filter,
    }
}
