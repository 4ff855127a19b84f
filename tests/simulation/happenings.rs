//! The happenings of a plan, as hooks that strike a request by its place in the round.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use simulator::{Api, Fault, Hook, Lambda, S3Fault, S3Request};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::round::{Happening, Place, Round};
use crate::tenant::Tenant;

/// The lease ends 5 s after the deadline. A container that is frozen for this long thaws after its lease.
pub const BEYOND_THE_LEASE: Duration = Duration::from_secs(6);

/// The names in S3 requests that identify the container.
pub const FIRST: &str = "first";
pub const SECOND: &str = "second";
pub const THIRD: &str = "third";

/// Shared by the round and its hooks.
#[derive(Default)]
pub struct Moment {
    pub second_begins: Notify,
    pub began: Mutex<Option<Instant>>,
    /// The instant at which the first container thawed after the end of its lease.
    pub thawed: Mutex<Option<DateTime<Utc>>>,
    pub deaths: Mutex<u64>,
}

/// Needed by the hooks of a round.
#[derive(Clone)]
pub struct Hooks {
    pub api: Api,
    pub tenant: Arc<Tenant>,
    pub first: Lambda,
    pub second: Lambda,
    pub third: Lambda,
    pub moment: Arc<Moment>,
}

pub struct Happenings {
    pub round: Round,
    pub stage: Hooks,
}

impl Happenings {
    pub fn at(&self, place: Place) -> Option<&Happening> {
        self.round.instants.iter().find(|(at, _)| *at == place).map(|(_, happening)| happening)
    }

    pub fn to_api(&self, happening: &Happening) -> Fault {
        let first = self.stage.first.clone();
        Fault::Run(match happening {
            Happening::DiesBefore | Happening::DiesAfter | Happening::DiesAndLandsLate(_) => {
                self.stage.death("death at an API request", first)
            }
            Happening::Freezes(_) | Happening::FreezesBeyondItsLease => self.freezes(happening, first, false),
            Happening::SecondBeginsAndFirstFreezes(lasts) => self.is_overtaken(*lasts),
            other => self.to_the_world(other),
        })
    }

    pub fn to_s3(&self, happening: &Happening, request: &S3Request, place: Place) -> S3Fault {
        let is_second = is_from(request, SECOND);
        let is_first = !is_second && !is_from(request, THIRD);
        let sender = match (is_first, is_second) {
            (true, _) => self.stage.first.clone(),
            (false, true) => self.stage.second.clone(),
            (false, false) => self.stage.third.clone(),
        };
        match happening {
            Happening::DiesBefore => S3Fault::Unsent(self.stage.death("death before a request to S3", sender)),
            Happening::DiesAfter => S3Fault::After(self.stage.death("death after a request to S3", sender)),
            Happening::DiesAndLandsLate(delay) => {
                S3Fault::Orphaned(*delay, self.stage.death("death, and the write lands later", sender))
            }
            Happening::Freezes(_) => S3Fault::Before(self.freezes(happening, sender, false)),
            Happening::SecondBeginsAndFirstFreezes(lasts) => S3Fault::Before(self.is_overtaken(*lasts)),
            Happening::FreezesBeyondItsLease => {
                // During its first write it has no other request, so none can be under way.
                let is_alone = matches!(place, Place::S3 { ordinal: 1, .. }) && is_first;
                S3Fault::Before(self.freezes(happening, sender, is_alone))
            }
            other => S3Fault::Before(self.to_the_world(other)),
        }
    }

    fn freezes(&self, happening: &Happening, victim: Lambda, and_is_watched: bool) -> Hook {
        let moment = self.stage.moment.clone();
        let (name, lasts) = match happening {
            Happening::Freezes(lasts) => ("freeze", *lasts),
            _ => ("freeze beyond the lease", self.round.deadline + BEYOND_THE_LEASE),
        };
        let from_the_start = name != "freeze";
        Hook::new(name, move || {
            victim.freeze();
            let began = locked(&moment.began).filter(|_| from_the_start).unwrap_or_else(Instant::now);
            let (victim, moment) = (victim.clone(), moment.clone());
            tokio::spawn(async move {
                tokio::time::sleep_until(began + lasts).await;
                let thawed = simulator::clock::now();
                if victim.thaw() && and_is_watched {
                    *locked(&moment.thawed) = Some(thawed);
                }
            });
        })
    }

    fn is_overtaken(&self, lasts: Duration) -> Hook {
        let first_freezes = self.freezes(&Happening::Freezes(lasts), self.stage.first.clone(), false);
        self.to_the_world(&Happening::SecondBegins).then(first_freezes)
    }

    fn to_the_world(&self, happening: &Happening) -> Hook {
        let stage = self.stage.clone();
        match happening.clone() {
            Happening::TokensAreRevoked => Hook::new("tokens revoked", move || stage.api.revoke_tokens()),
            Happening::SecondBegins => Hook::new("another run begins", move || stage.moment.second_begins.notify_one()),
            Happening::Changes(changes) => Hook::new("changes in mid-run", move || stage.tenant.apply(&changes)),
            _ => Hook::new("nothing", || {}),
        }
    }
}

impl Hooks {
    fn death(&self, name: &'static str, victim: Lambda) -> Hook {
        let moment = self.moment.clone();
        Hook::new(name, move || {
            *locked(&moment.deaths) += 1;
            victim.kill();
        })
    }
}

pub fn is_from(request: &S3Request, name: &str) -> bool {
    let app = format!("app/{name}");
    ["user-agent", "x-amz-user-agent"]
        .iter()
        .any(|header| request.headers.get(*header).is_some_and(|agent| agent.split(' ').any(|part| part == app)))
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
