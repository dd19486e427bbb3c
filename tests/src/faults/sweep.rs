//! Runs every scenario without faults, and then with a fault at every write.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use super::bug::Bug;
use super::compare::State;
use super::fault::{Fault, Place, Plan, View};
use super::gateway;
use super::kinds::Kind;
use super::process::{End, Process};
use super::scenario::{Ends, NAMESPACE, Scenario, Step};
use super::world::{Key, Shared, World};
use super::write::Writer;

/// Every way in which the operator writes: verb, kind and subresource.
pub const POINTS: [&str; 29] = [
    "apply-new ControllerRevision",
    "apply-new Deployment",
    "apply-new Job",
    "apply-new NetworkPolicy",
    "apply-new PersistentVolumeClaim",
    "apply-new Pod",
    "apply-new ResourceClaimTemplate",
    "apply-new Secret",
    "apply-new Service",
    "apply-over Deployment",
    "apply-over NetworkPolicy",
    "apply-over PersistentVolumeClaim",
    "apply-over ResourceClaimTemplate",
    "apply-over Secret",
    "apply-over Service",
    "create Event",
    "create Lease",
    "delete ControllerRevision",
    "delete Deployment",
    "delete Job",
    "delete Pod",
    "delete Service",
    "patch Deployment",
    "patch Event",
    "patch ExternalProvider/status",
    "patch ModelAccess/status",
    "patch ModelCache/status",
    "patch ModelDeployment/status",
    "update Lease",
];

/// Steps of a scenario with edits that are alike which a bounded sweep puts faults into; it runs all of them without.
const ALIKE: usize = 2;
/// Of so many cases of other faults a bounded sweep takes one.
pub const SAMPLED: u64 = 24;
/// Processes that a case may need, one after the other.
const PROCESSES: u32 = 4;

/// How much is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A crash after every write, and every answer lost once but an Event's; of edits that are alike, in the first two. Of all
    /// else that [`Mode::Whole`] does with one seed, one case in [`SAMPLED`], the same each time.
    Bounded,
    /// Every fault at every write, every view, and noise, from so many seeds.
    Whole(u64),
}

/// A case that did not end as it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Scenario and step.
    pub place: String,
    /// What went wrong there.
    pub plan: String,
    /// What differs, or what was done that may not be.
    pub words: Vec<String>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.place, self.plan)?;
        self.words.iter().try_for_each(|words| writeln!(f, "    {words}"))
    }
}

/// What came of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Runs, those without faults included.
    pub cases: usize,
    /// Those in which the write that was to go wrong was never asked for: as a status that was told in one go.
    pub missed: usize,
    /// Those that did not end as they must.
    pub divergences: Vec<Divergence>,
    /// Ways of writing after which a process was crashed.
    pub points: BTreeSet<String>,
    /// Faults that had an occasion, and views, by the names that plans have for them.
    pub faults: BTreeSet<String>,
}

/// One step of a scenario as it goes without faults.
pub struct Leg {
    step: Step,
    before: World,
    after: State,
    places: Vec<Place>,
}

/// A scenario as it goes without faults.
pub struct Course {
    name: String,
    legs: Vec<Leg>,
}

impl Course {
    /// What the operator writes in a step, in its order.
    pub fn writes(&self, step: &str) -> Vec<String> {
        let leg = self.legs.iter().find(|leg| leg.step.name == step);
        leg.into_iter().flat_map(|leg| &leg.places).map(ToString::to_string).collect()
    }
}

/// A world with nothing but what an operator has once it has started, and how it comes to be so.
///
/// # Errors
/// It did not.
pub fn installed(bug: Option<Bug>) -> Result<(World, Leg), Divergence> {
    let step = Step {
        name: "the operator starts".to_owned(),
        acts: Vec::new(),
        ends: Ends::Somehow,
        moves: false,
        slow: false,
    };
    let plan = Plan { away: true, ..Plan::default() };
    let mut bare = World::default();
    gateway::install(&mut bare);
    let lived = drive(&bare, &step, &plan, bug);
    let Drive { mut world, places, met: _ } = lived.map_err(|words| Divergence {
        place: step.name.clone(),
        plan: plan.to_string(),
        words: vec![words],
    })?;
    let after = State::of(&world);
    world.compact();
    Ok((world, Leg { step, before: bare, after, places }))
}

impl Sweep {
    /// Sweeps `scenario` from `start` on; of its cases those whose line holds `only`.
    fn scenario(&mut self, scenario: &Scenario, start: &World, mode: Mode, bug: Option<Bug>, only: &str) {
        let course = self.course(scenario, start, bug);
        // The first writes, the first edit and its like stand for what follows.
        let swept = if scenario.alike && mode == Mode::Bounded { ALIKE } else { usize::MAX };
        for leg in course.legs.iter().take(swept) {
            self.leg(&course.name, leg, start, mode, bug, only);
        }
    }

    /// The scenario without faults, as far as that goes.
    pub fn course(&mut self, scenario: &Scenario, start: &World, bug: Option<Bug>) -> Course {
        let mut course = Course { name: scenario.name.to_owned(), legs: Vec::new() };
        let mut before = start.clone();
        for step in &scenario.steps {
            self.cases += 1;
            let place = format!("{}, {}", scenario.name, step.name);
            let mut diverged = |words: Vec<String>| {
                let plan = "no fault".to_owned();
                self.divergences.push(Divergence { place: place.clone(), plan, words });
            };
            let Drive { mut world, places, met: _ } = match drive(&before, step, &Plan::default(), bug) {
                Ok(lived) => lived,
                Err(words) => {
                    diverged(vec![words]);
                    return course;
                }
            };
            let (was, after) = (State::of(&before), State::of(&world));
            let differences = match step.ends {
                Ends::Somehow => Ok(Vec::new()),
                Ends::AsBefore => {
                    Ok(was.clone().without_history().differences(&after.clone().without_history()))
                }
                Ends::Fresh => fresh(start, &world, bug)
                    .map(|fresh| fresh.without_history().differences(&after.clone().without_history())),
            };
            match differences {
                Ok(words) if words.is_empty() => {}
                Ok(words) => diverged(words),
                Err(words) => diverged(vec![format!("in a world of its own: {words}")]),
            }
            let unroutable = after.unroutable();
            if !unroutable.is_empty() {
                diverged(unroutable);
            }
            let (was, now) = (was.without_history(), after.clone().without_history());
            if step.moves && was.made() == now.made() {
                diverged(vec!["the edit changes nothing that the operator makes".to_owned()]);
            }
            world.compact();
            let next = world.clone();
            course.legs.push(Leg { step: step.clone(), before, after, places });
            before = next;
        }
        course
    }

    /// What came of another part of the same sweep.
    fn add(&mut self, other: Sweep) {
        let Sweep { cases, missed, divergences, points, faults } = other;
        self.cases += cases;
        self.missed += missed;
        self.divergences.extend(divergences);
        self.points.extend(points);
        self.faults.extend(faults);
    }

    /// Every case of one step of a scenario that began in `start`.
    fn leg(&mut self, scenario: &str, leg: &Leg, start: &World, mode: Mode, bug: Option<Bug>, only: &str) {
        for plan in plans(leg, mode) {
            let place = format!("{scenario}, {}", leg.step.name);
            if !format!("{place}: {plan}").contains(only) {
                continue;
            }
            self.cases += 1;
            let words = match drive(&leg.before, &leg.step, &plan, bug) {
                Ok(Drive { world, places: _, met }) => {
                    self.missed += usize::from(!met);
                    if met {
                        self.met(&plan);
                    }
                    differences(leg, &plan, start, &world, bug)
                }
                Err(words) => vec![words],
            };
            if !words.is_empty() {
                self.divergences.push(Divergence { place, plan: plan.to_string(), words });
            }
        }
    }

    /// What `plan` meant to go wrong did.
    fn met(&mut self, plan: &Plan) {
        let Plan { at, view, away: _, noise, seed: _ } = plan;
        if let Some((place, fault)) = at {
            if *fault == Fault::Crash {
                self.points.insert(place.point.clone());
            }
            self.faults.insert(format!("{fault:?}"));
        }
        if *noise {
            self.faults.insert("noise".to_owned());
        }
        match view {
            View::Fresh => {}
            View::Stale(_) => drop(self.faults.insert("Stale".to_owned())),
            View::Dropped | View::Coalesced | View::Reordered => {
                self.faults.insert(format!("{view:?}"));
            }
        }
    }
}

/// How `world` differs from what `leg` leads to without faults.
fn differences(leg: &Leg, plan: &Plan, start: &World, world: &World, bug: Option<Bug>) -> Vec<String> {
    let after = State::of(world);
    let differences = leg.after.differences(&after);
    // Who takes the Deployment of a stable revision away takes what a trial goes back to: the spec's revision serves then, as
    // though it had been the first.
    if differences.is_empty() || !matches!(plan.at, Some((_, Fault::Replaced))) {
        return differences;
    }
    match fresh(start, world, bug) {
        Ok(fresh) => {
            let alike = fresh.without_history().differences(&after.without_history()).is_empty();
            if alike { Vec::new() } else { differences }
        }
        Err(words) => vec![format!("in a world of its own: {words}")],
    }
}

/// Sweeps all of `scenarios`, the operator's start among them, so many at once as there are `threads`; of the cases those whose
/// line holds `only`. Each scenario is told of when it is through.
pub fn sweep(
    scenarios: &[Scenario],
    (mode, bug, only): (Mode, Option<Bug>, &str),
    threads: usize,
    through: impl Fn(&Scenario, &Sweep) + Sync,
) -> Sweep {
    let mut begun = Sweep::default();
    let (start, leg) = match installed(bug) {
        Ok(installed) => installed,
        Err(divergence) => {
            begun.divergences.push(divergence);
            return begun;
        }
    };
    begun.cases += 1;
    begun.leg("an installation", &leg, &leg.before, mode, bug, only);
    let (left, swept) = (Mutex::new(scenarios.iter()), Mutex::new(begun));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Not by `while let`, which would hold the list all the while.
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(scenario) = next else { break };
                    let mut one = Sweep::default();
                    one.scenario(scenario, &start, mode, bug, only);
                    through(scenario, &one);
                    swept.lock().unwrap_or_else(PoisonError::into_inner).add(one);
                }
            });
        }
    });
    swept.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What goes wrong, case by case.
fn plans(leg: &Leg, mode: Mode) -> Vec<Plan> {
    let away = leg.step.acts.is_empty();
    let at = |place: &Place, fault| Plan { at: Some((place.clone(), fault)), away, ..Plan::default() };
    let worth = leg.places.iter().filter(|place| place.point != "update Lease" || away);
    let crashes = worth.clone().flat_map(|place| [at(place, Fault::Crash), at(place, Fault::Lost)]);
    // What an Event's writer hears is a line in the log.
    let heard = |plan: &Plan| {
        plan.at.as_ref().is_none_or(|(at, fault)| !at.point.ends_with("Event") || *fault == Fault::Crash)
    };
    let seeds = match mode {
        Mode::Bounded => 1,
        Mode::Whole(seeds) => seeds,
    };
    let more = worth.clone().flat_map(|place| {
        let refused = [409, 429, 500, 503].map(|code| at(place, Fault::Refused(code)));
        let stale = [3, 8, 20].map(|back| Plan { view: View::Stale(back), ..at(place, Fault::Crash) });
        let mut plans = vec![at(place, Fault::Never), at(place, Fault::Late)];
        plans.extend(refused.into_iter().chain(stale));
        plans.extend(meddled(place).map(|fault| at(place, fault)));
        plans
    });
    let views = [View::Dropped, View::Coalesced, View::Reordered].into_iter();
    let views = views.flat_map(|view| {
        let seeds = if view == View::Reordered { seeds } else { 1 };
        (0..seeds).map(move |seed| Plan { view, seed, away, ..Plan::default() })
    });
    let noise = (0..seeds).map(|seed| Plan { noise: true, seed, away, ..Plan::default() });
    let gone = [1, 2, 4, 8, 16].map(|back| Plan { view: View::Stale(back), away: true, ..Plan::default() });
    let gone = gone.into_iter().chain([Plan { away: true, ..Plan::default() }]);
    let others = more.chain(views).chain(noise).chain(gone);
    match mode {
        Mode::Bounded => crashes.filter(heard).chain(others.filter(|plan| is_sampled(leg, plan))).collect(),
        Mode::Whole(_) => crashes.chain(others).collect(),
    }
}

/// Whether a bounded sweep takes this one of the many: by what it is, so that it is the same one each time.
fn is_sampled(leg: &Leg, plan: &Plan) -> bool {
    let mut hasher = DefaultHasher::new();
    (&leg.step.name, plan.to_string()).hash(&mut hasher);
    hasher.finish().is_multiple_of(SAMPLED)
}

/// What somebody else can do just before a write at `place`.
fn meddled(place: &Place) -> impl Iterator<Item = Fault> {
    let child =
        ["Deployment", "Service", "NetworkPolicy", "Secret"].iter().any(|kind| place.point.ends_with(kind));
    let new = place.point.starts_with("apply-new");
    let touched = (!new && (child || place.point.ends_with("Lease"))).then_some(Fault::Touched);
    let over = place.point.starts_with("apply-over") || place.point.ends_with("/status");
    // What people may have put beside our authority is not written over unseen, so that whoever writes there all the time wins.
    let busy = (over && !place.object.ends_with("weighbridge-authority")).then_some(Fault::Busy);
    touched.into_iter().chain(busy).chain(child.then_some(Fault::Replaced))
}

/// What came of a case.
struct Drive {
    /// The world at rest.
    world: World,
    /// What the first process wrote.
    places: Vec<Place>,
    /// Whether what was to go wrong had an occasion.
    met: bool,
}

/// Runs `step` from `before`, with what `plan` says.
fn drive(before: &World, step: &Step, plan: &Plan, bug: Option<Bug>) -> Result<Drive, String> {
    let mut world = before.clone();
    let meddled = matches!(plan.at, Some((_, Fault::Touched | Fault::Busy | Fault::Replaced)));
    world.watchdog.views_are_fresh = plan.view == View::Fresh && !meddled && !plan.away;
    if plan.away {
        step.acts.iter().try_for_each(|act| act.on(&mut world)).map_err(|error| error.to_string())?;
    }
    let replaced = matches!(plan.at, Some((_, Fault::Replaced)));
    let shared = Shared::new(world);
    let mut plan = plan.clone();
    let (mut first, mut met) = (None, true);
    for number in 1..=PROCESSES {
        let acts = (number == 1 && !plan.away).then_some(step.acts.as_slice());
        let again = number > 1 || plan.away;
        let process = Process { shared: &shared, plan: &plan, bug, number, again, acts, slow: step.slow };
        let lived = process.live().map_err(|error| format!("{error:#}"));
        let violations = shared.lock().watchdog.violations().to_vec();
        if !violations.is_empty() {
            return Err(violations.join("; "));
        }
        let lived = lived?;
        let mut wrote = lived.writes;
        if number == 1 {
            met = lived.met;
            wrote.extend(lived.leases.into_iter().filter(|_| step.acts.is_empty()));
        }
        first.get_or_insert(wrote);
        plan.at = None;
        if lived.end == End::Rest {
            break;
        }
    }
    if replaced && take_away(&mut shared.lock()) {
        let (number, again, acts, slow) = (PROCESSES + 1, true, None, step.slow);
        let process = Process { shared: &shared, plan: &plan, bug, number, again, acts, slow };
        process.live().map_err(|error| format!("with theirs gone again: {error:#}"))?;
    }
    let world = shared.lock().clone();
    match left_over(&world) {
        None => Ok(Drive { world, places: first.unwrap_or_default(), met }),
        Some(words) => Err(words),
    }
}

/// Takes away what somebody had put under a child's name. Returns whether there was any.
fn take_away(world: &mut World) -> bool {
    let is_theirs = |object: &Value| object["metadata"]["labels"]["theirs"] == "1";
    let objects = world.objects().filter(|(_, stored)| is_theirs(&stored.object));
    let theirs: Vec<_> = objects.map(|(key, _)| key.clone()).collect();
    theirs.iter().for_each(|key| {
        world.put(key, None);
    });
    !theirs.is_empty()
}

/// Something of a parent that is not there any more.
fn left_over(world: &World) -> Option<String> {
    let living = world.uids();
    let left = world.objects().find(|(_, stored)| {
        let labels = stored.object["metadata"]["labels"].as_object().into_iter().flatten();
        labels.into_iter().any(|(name, uid)| {
            name.ends_with("-uid") && uid.as_str().is_some_and(|uid| !living.contains(uid))
        })
    });
    left.map(|(key, _)| format!("{key} is left over from a parent that is gone"))
}

/// The state with everything that people have in `world` applied at once in `start`.
fn fresh(start: &World, world: &World, bug: Option<Bug>) -> Result<State, String> {
    let mut fresh = start.clone();
    fresh.name_as(world);
    for (key, stored) in world.objects() {
        if let (Some(kind), Some(body)) = (Kind::named(key.kind), of_people(key, &stored.object)) {
            let by = Writer { manager: "kubectl", subresource: "" };
            fresh.apply(kind, key, &body, by, true).map_err(|error| error.to_string())?;
        }
    }
    let step =
        Step { name: "afresh".to_owned(), acts: Vec::new(), ends: Ends::Somehow, moves: false, slow: false };
    let drive = drive(&fresh, &step, &Plan { away: true, ..Plan::default() }, bug)?;
    Ok(State::of(&drive.world))
}

/// An object as people applied it, where it is theirs.
fn of_people(key: &Key, object: &Value) -> Option<Value> {
    let ours = Kind::named(key.kind).is_some_and(Kind::is_ours);
    let made = object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "weighbridge";
    let theirs = ours || (matches!(key.kind, "Secret" | "Service") && key.namespace == NAMESPACE && !made);
    theirs.then(|| {
        json!({"apiVersion": object["apiVersion"], "kind": object["kind"],
            "metadata": {"name": key.name, "finalizers": object["metadata"]["finalizers"]},
            "spec": object["spec"], "data": object["data"]})
    })
}
