//! Quotas and the queue, for every sequence of calls.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use lakekeep_profiles::{
        Admission, AdmissionQueue, Caps, Counters, Entry, Leaving, ProfileName, QueueBounds,
        QueueRefusal, QuotaResource as Resource, Quotas, Scope, Ticket, Usage,
    };
    use proptest::prelude::*;

    const USERS: [&str; 3] = ["ann", "bob", "eve"];

    fn profile(name: &str) -> ProfileName {
        ProfileName::new(name).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn sandboxes(count: u64) -> Counters {
        Counters::NONE.with(Resource::Sandboxes, count)
    }

    fn quotas(whole: u64, each: u64) -> Quotas {
        let cap = |most| Caps::default().with(Resource::Sandboxes, Some(most));
        Quotas::from_caps(cap(whole), cap(each))
    }

    fn entry(user: &str, name: &str, ask: u64) -> Entry<Counters> {
        Entry {
            user: user.to_owned(),
            profile: profile(name),
            deadline: at(1000),
            queued: (None, None),
            ask: sandboxes(ask),
        }
    }

    /// A queue and the usage it admits into.
    struct Desk {
        queue: AdmissionQueue<Counters>,
        usage: Usage,
        quotas: Quotas,
    }

    impl Desk {
        fn new(quotas: Quotas) -> Desk {
            let queue = AdmissionQueue::new(QueueBounds {
                patience: 3,
                ..QueueBounds::default()
            });
            Desk {
                queue,
                usage: Usage::default(),
                quotas,
            }
        }

        fn enter(&mut self, user: &str, name: &str, ask: u64) -> Ticket {
            self.queue.enter(at(0), entry(user, name, ask)).unwrap()
        }

        fn pump(&mut self, now: Duration) -> Vec<(String, u64)> {
            let Desk {
                queue,
                usage,
                quotas,
            } = self;
            let left = queue.admit(now, |waiting| {
                usage.admit(quotas, (&waiting.profile, &waiting.user), &waiting.ask)
            });
            left.into_iter()
                .filter_map(|left| match left {
                    Leaving::Admitted(waiting) => {
                        Some((waiting.user, waiting.ask.get(Resource::Sandboxes)))
                    }
                    Leaving::Refused(..) => None,
                })
                .collect()
        }

        fn release(&mut self, user: &str, name: &str, count: u64) {
            self.usage
                .release((&profile(name), user), &sandboxes(count))
                .unwrap();
        }
    }

    #[test]
    fn quotas_say_which_and_what_to_do() {
        let (mut usage, team) = (Usage::default(), profile("team"));
        let quotas = quotas(3, 2);
        let who = (&team, "ann");
        assert_eq!(usage.admit(&quotas, who, &sandboxes(2)), Admission::Admit);
        let Admission::Wait(short) = usage.admit(&quotas, who, &sandboxes(1)) else {
            panic!()
        };
        assert_eq!(
            short.to_string(),
            "quotas.per_user.sandboxes: 1 asked for, 2 of 2 used; wait, or end one of your sandboxes"
        );
        let Admission::Wait(short) = usage.admit(&quotas, (&team, "bob"), &sandboxes(2)) else {
            panic!()
        };
        assert_eq!(
            (short.scope, short.used, short.limit),
            (Scope::Profile, 2, 3)
        );
        let Admission::Refuse(short) = usage.admit(&quotas, who, &sandboxes(4)) else {
            panic!()
        };
        assert_eq!(short.field(), "quotas.per_user.sandboxes");
        assert!(short.remedy().starts_with("ask for at most 2"), "{short}");
        let memory = Caps::default().with(Resource::Memory, Some(1 << 30));
        let quotas = Quotas::from_caps(memory, Caps::default());
        let ask = Counters::NONE.with(Resource::Memory, 2 << 30);
        let Admission::Refuse(short) = usage.admit(&quotas, who, &ask) else {
            panic!()
        };
        assert!(
            short
                .to_string()
                .contains("2GiB asked for, 0B of 1GiB used"),
            "{short}"
        );
    }

    #[test]
    fn what_cannot_be_counted_is_refused_and_a_wrong_release_changes_nothing() {
        let (mut usage, team) = (Usage::default(), profile("team"));
        let (quotas, who) = (Quotas::default(), (&team, "ann"));
        assert_eq!(
            usage.admit(&quotas, who, &sandboxes(u64::MAX)),
            Admission::Admit
        );
        assert!(matches!(
            usage.admit(&quotas, who, &sandboxes(1)),
            Admission::Refuse(_)
        ));
        usage.release(who, &sandboxes(u64::MAX - 1)).unwrap();
        let error = usage.release(who, &sandboxes(2)).unwrap_err();
        assert_eq!((error.released, error.held), (2, 1));
        assert!(usage.release((&team, "bob"), &sandboxes(1)).is_err());
        assert_eq!(usage.of_profile(&team), sandboxes(1));
        usage.release(who, &sandboxes(1)).unwrap();
        assert!(usage.of_profile(&team).is_none());
    }

    #[test]
    fn a_thousand_entries_of_one_user_do_not_delay_anothers_one() {
        let mut desk = Desk::new(quotas(1, 1));
        assert_eq!(
            desk.enter("eve", "team", 1),
            desk.queue.iter().next().unwrap().ticket
        );
        assert_eq!(desk.pump(at(0)).len(), 1);
        for _ in 0..1000 {
            desk.enter("eve", "team", 1);
        }
        desk.enter("ann", "team", 1);
        assert!(desk.pump(at(0)).is_empty());
        desk.release("eve", "team", 1);
        let first = desk.pump(at(1));
        desk.release(&first[0].0.clone(), "team", 1);
        let second = desk.pump(at(2));
        let served = [first[0].0.as_str(), second[0].0.as_str()];
        assert!(served.contains(&"ann"), "{served:?}");
    }

    #[test]
    fn users_take_turns_one_place_at_a_time() {
        let mut desk = Desk::new(quotas(1, 1));
        for user in ["ann", "ann", "ann", "bob", "bob", "eve"] {
            desk.enter(user, "team", 1);
        }
        let mut order = Vec::new();
        while let Some((user, _)) = desk.pump(at(1)).pop() {
            desk.release(&user, "team", 1);
            order.push(user);
        }
        assert_eq!(order, ["ann", "bob", "eve", "ann", "bob", "ann"]);
    }

    #[test]
    fn a_user_at_the_own_quota_holds_up_nobody_and_other_profiles_go_on() {
        let mut desk = Desk::new(quotas(10, 1));
        for (user, name) in [
            ("ann", "team"),
            ("ann", "team"),
            ("bob", "team"),
            ("ann", "other"),
        ] {
            desk.enter(user, name, 1);
        }
        assert_eq!(desk.pump(at(0)).len(), 3);
        assert_eq!(desk.queue.waiting_of("ann"), 1);
    }

    #[test]
    fn a_large_request_is_not_starved_by_small_ones() {
        let mut desk = Desk::new(quotas(2, 2));
        for _ in 0..2 {
            desk.enter("eve", "team", 1);
        }
        assert_eq!(desk.pump(at(0)).len(), 2);
        desk.enter("ann", "team", 2);
        let mut served = Vec::new();
        for round in 1..10 {
            // One of eve's ends, and the next of hers waits already.
            desk.enter("eve", "team", 1);
            if desk.usage.of_user(&profile("team"), "eve") == Counters::NONE {
                break;
            }
            desk.release("eve", "team", 1);
            served.push(desk.pump(at(round)));
        }
        let eve = ("eve".to_owned(), 1);
        // The patience of three, then the profile waits for the large one.
        let passed = vec![vec![eve.clone()], vec![eve.clone()], vec![eve]];
        assert_eq!(served[..3], passed);
        assert_eq!(served[3..], [vec![], vec![("ann".to_owned(), 2)]]);
    }

    #[test]
    fn bounds_are_typed_and_hint_when_to_try_again() {
        let bounds = QueueBounds {
            total: 3,
            per_user: 2,
            ..QueueBounds::default()
        };
        let mut queue = AdmissionQueue::new(bounds);
        queue.enter(at(0), entry("ann", "team", 1)).unwrap();
        queue.enter(at(0), entry("ann", "team", 1)).unwrap();
        let error = queue.enter(at(0), entry("ann", "team", 1)).unwrap_err();
        assert!(
            matches!(error, QueueRefusal::UserFull { limit: 2, .. }),
            "{error}"
        );
        assert_eq!(error.retry_after(), Some(at(1)));
        let narrow = Entry {
            queued: (None, Some(2)),
            ..entry("bob", "team", 1)
        };
        let error = queue.enter(at(0), narrow).unwrap_err();
        assert!(
            matches!(error, QueueRefusal::ProfileFull { limit: 2, .. }),
            "{error}"
        );
        let own = Entry {
            queued: (Some(0), None),
            ..entry("bob", "team", 1)
        };
        assert!(matches!(
            queue.enter(at(0), own),
            Err(QueueRefusal::UserFull { limit: 0, .. })
        ));
        queue.enter(at(0), entry("bob", "team", 1)).unwrap();
        let error = queue.enter(at(0), entry("eve", "team", 1)).unwrap_err();
        assert!(
            matches!(error, QueueRefusal::Full { limit: 3, .. }),
            "{error}"
        );
        let late = Entry {
            deadline: at(5),
            ..entry("eve", "team", 1)
        };
        assert_eq!(queue.enter(at(5), late), Err(QueueRefusal::TooLate));
    }

    #[test]
    fn deadlines_and_cancellations_take_entries_out() {
        let mut queue = AdmissionQueue::new(QueueBounds::default());
        let soon = Entry {
            deadline: at(5),
            ..entry("ann", "team", 1)
        };
        let soon = queue.enter(at(0), soon).unwrap();
        let later = queue.enter(at(0), entry("ann", "team", 1)).unwrap();
        assert_eq!(queue.next_deadline(), Some(at(5)));
        assert!(queue.expire(at(4)).is_empty());
        assert_eq!(queue.expire(at(5))[0].ticket, soon);
        assert_eq!(queue.cancel(soon), None);
        assert_eq!(queue.cancel(later).unwrap().ticket, later);
        assert!(queue.is_empty() && queue.next_deadline().is_none());
    }

    #[test]
    fn a_lowered_quota_refuses_what_can_never_fit() {
        let mut desk = Desk::new(quotas(4, 4));
        desk.enter("eve", "team", 2);
        desk.pump(at(0));
        desk.enter("ann", "team", 3);
        assert!(desk.pump(at(0)).is_empty());
        desk.quotas = quotas(2, 2);
        let Desk {
            queue,
            usage,
            quotas,
        } = &mut desk;
        let left = queue.admit(at(1), |waiting| {
            usage.admit(quotas, (&waiting.profile, &waiting.user), &waiting.ask)
        });
        assert!(matches!(&left[..], [Leaving::Refused(waiting, short)]
            if waiting.user == "ann" && short.limit == 2));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter {
            user: usize,
            other: bool,
            ask: u64,
            patience: u64,
        },
        Release {
            which: usize,
        },
        Cancel {
            which: usize,
        },
        Pass {
            seconds: u64,
        },
        Quota {
            whole: u64,
            each: u64,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3_usize, any::<bool>(), 1..4_u64, 1..30_u64).prop_map(
                |(user, other, ask, patience)| Step::Enter { user, other, ask, patience }),
            4 => (0..50_usize).prop_map(|which| Step::Release { which }),
            1 => (0..50_usize).prop_map(|which| Step::Cancel { which }),
            1 => (1..10_u64).prop_map(|seconds| Step::Pass { seconds }),
            1 => (3..7_u64, 3..5_u64).prop_map(|(whole, each)| Step::Quota { whole, each }),
        ]
    }

    /// What the model knows beside the desk.
    #[derive(Default)]
    struct Model {
        now: u64,
        held: Vec<(String, ProfileName, u64)>,
        waiting: Vec<Ticket>,
        entered: usize,
        left: usize,
    }

    fn play(desk: &mut Desk, model: &mut Model, step: Step) {
        match step {
            Step::Enter {
                user,
                other,
                ask,
                patience,
            } => {
                let name = if other { "other" } else { "team" };
                let deadline = at(model.now + patience);
                let entry = Entry {
                    deadline,
                    ..entry(USERS[user], name, ask)
                };
                model
                    .waiting
                    .push(desk.queue.enter(at(model.now), entry).unwrap());
                model.entered += 1;
            }
            Step::Release { which } if !model.held.is_empty() => {
                let (user, name, ask) = model.held.remove(which % model.held.len());
                desk.usage.release((&name, &user), &sandboxes(ask)).unwrap();
            }
            Step::Cancel { which } if !model.waiting.is_empty() => {
                let ticket = model.waiting[which % model.waiting.len()];
                model.left += usize::from(desk.queue.cancel(ticket).is_some());
            }
            Step::Pass { seconds } => {
                model.now += seconds;
                model.left += desk.queue.expire(at(model.now)).len();
            }
            Step::Quota { whole, each } => desk.quotas = quotas(whole, each),
            Step::Release { .. } | Step::Cancel { .. } => {}
        }
        let Desk {
            queue,
            usage,
            quotas,
        } = desk;
        for left in queue.admit(at(model.now), |waiting| {
            usage.admit(quotas, (&waiting.profile, &waiting.user), &waiting.ask)
        }) {
            model.left += 1;
            if let Leaving::Admitted(waiting) = left {
                let ask = waiting.ask.get(Resource::Sandboxes);
                model.held.push((waiting.user, waiting.profile, ask));
            }
        }
    }

    proptest! {
        #[test]
        fn no_sequence_exceeds_a_quota(
            steps in prop::collection::vec((0..3_usize, 0..5_u64, 0..5_u64, any::<bool>()), 1..200),
            whole in 1..12_u64,
            each in 1..8_u64,
        ) {
            let memory = |caps: Caps, most| caps.with(Resource::Memory, Some(most));
            let cap = |most| memory(Caps::default().with(Resource::Sandboxes, Some(most)), most * 2);
            let quotas = Quotas::from_caps(cap(whole), cap(each));
            let (mut usage, team) = (Usage::default(), profile("team"));
            let mut held = Vec::new();
            for (user, count, bytes, admit) in steps {
                let who = (&team, USERS[user]);
                let ask = sandboxes(count).with(Resource::Memory, bytes);
                if admit && usage.admit(&quotas, who, &ask) == Admission::Admit {
                    held.push((user, ask));
                } else if let Some((user, ask)) = held.pop() {
                    usage.release((&team, USERS[user]), &ask).unwrap();
                }
                let sum = |of: Option<usize>, resource| held.iter()
                    .filter(|(user, _)| of.is_none_or(|of| of == *user))
                    .map(|(_, ask): &(usize, Counters)| ask.get(resource)).sum::<u64>();
                for resource in [Resource::Sandboxes, Resource::Memory] {
                    prop_assert_eq!(usage.of_profile(&team).get(resource), sum(None, resource));
                    prop_assert!(sum(None, resource) <= quotas.of_profile(resource).unwrap());
                    for (index, user) in USERS.iter().enumerate() {
                        let own = usage.of_user(&team, user).get(resource);
                        prop_assert_eq!(own, sum(Some(index), resource));
                        prop_assert!(own <= quotas.of_user(resource).unwrap());
                    }
                }
            }
        }

        /// After each step nobody waits who could go: but for entries of a
        /// profile that waits for one that was passed over too often, which
        /// itself does not fit.
        #[test]
        fn no_wakeup_is_lost(steps in prop::collection::vec(step(), 1..150)) {
            let (mut desk, mut model) = (Desk::new(quotas(5, 4)), Model::default());
            for step in steps {
                play(&mut desk, &mut model, step);
                prop_assert_eq!(model.entered, model.left + desk.queue.len());
                let mut fits: BTreeMap<ProfileName, bool> = BTreeMap::new();
                let mut lacks_room: BTreeMap<ProfileName, bool> = BTreeMap::new();
                let mut seen = std::collections::BTreeSet::new();
                for waiting in desk.queue.iter() {
                    prop_assert!(waiting.deadline > at(model.now));
                    let verdict = desk.usage.check(
                        &desk.quotas, (&waiting.profile, &waiting.user), &waiting.ask);
                    let key = (waiting.user.clone(), waiting.profile.clone());
                    if seen.insert(key) && verdict == Admission::Admit {
                        fits.insert(waiting.profile.clone(), true);
                    }
                    if matches!(verdict, Admission::Wait(short) if short.scope == Scope::Profile) {
                        lacks_room.insert(waiting.profile.clone(), true);
                    }
                }
                for name in fits.keys() {
                    prop_assert!(lacks_room.contains_key(name), "somebody of {} could go", name);
                }
            }
            for _ in 0..200 {
                for (user, name, ask) in std::mem::take(&mut model.held) {
                    desk.usage.release((&name, &user), &sandboxes(ask)).unwrap();
                }
                play(&mut desk, &mut model, Step::Cancel { which: 0 });
                if desk.queue.is_empty() { break; }
            }
            prop_assert!(desk.queue.is_empty());
        }
    }
}
