//! Arms the faults of a round, and has the API behave as the plan says.

use chrono::TimeDelta;
use simulator::{Behaviour, Endpoint};

use crate::classes::{class, classes};
use crate::happenings::{Happenings, Hooks};
use crate::oddities;
use crate::round::{Place, Round};
use crate::schedule::Stage;

impl Stage<'_> {
    pub fn behave(&self, api: &mut Behaviour, round: &Round) {
        let tenant = &self.plan.tenant;
        api.guide_endpoints = self.plan.in_guide;
        api.guide_lists = self.plan.in_guide;
        api.edges = tenant.edges;
        api.token_end = tenant.token_end;
        api.token_after_full_page = tenant.token_after_full_page;
        api.gzip = tenant.gzip;
        api.sign_ins_are_audited = tenant.sign_ins_are_audited;
        api.token_lifetime = tenant.token_lifetime;
        self.plan.oddities.manner.shape(api);
        api.clock_offset = TimeDelta::seconds(round.clock_offset);
        api.latency = round.latency;
        api.requests_per_minute = round.requests_per_minute;
    }

    /// Arms the faults: each request from now on is decided by its place in the round.
    pub fn arm(&self, round: &Round, oddities: Option<&oddities::Round>) {
        let (odd, all_odd) = (oddities.cloned().unwrap_or_default(), self.plan.oddities.clone());
        let rare = self.plan.rarities.clone();
        let happenings = Happenings { round: round.clone(), stage: self.hooks() };
        self.sim.faults.decide(move |endpoint, ordinal, request| {
            let happening = happenings.at(Place::Api(meant(endpoint), ordinal));
            let hook = happening.map(|happening| happenings.to_api(happening));
            hook.or_else(|| odd.strikes_api(endpoint, ordinal, request))
                .or_else(|| happenings.round.weather.strikes_api(endpoint, ordinal, request))
                .or_else(|| all_odd.strikes_api(endpoint, ordinal))
                .or_else(|| rare.strikes_api(endpoint, ordinal))
        });
        let odd = oddities.cloned().unwrap_or_default();
        let happenings = Happenings { round: round.clone(), stage: self.hooks() };
        self.sim.s3.faults.decide(class, move |request, class, ordinal| {
            let class = classes().find(|known| *known == class)?;
            let method = if request.method == "PUT" { "PUT" } else { "GET" };
            let place = Place::S3 { method, class, ordinal };
            let happening = happenings.at(place);
            let hook = happening.map(|happening| happenings.to_s3(happening, request, place));
            hook.or_else(|| odd.strikes_s3(class, ordinal))
                .or_else(|| happenings.round.weather.strikes_s3(&request.method, class, ordinal))
        });
    }

    fn hooks(&self) -> Hooks {
        Hooks {
            api: self.sim.api.clone(),
            tenant: self.tenant.clone(),
            first: self.first.clone(),
            second: self.second.clone(),
            third: self.third.clone(),
            moment: self.moment.clone(),
        }
    }
}

/// The guide's endpoints stand where the SDK's would.
fn meant(endpoint: Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::GuideAudit => Endpoint::AuditSearch,
        Endpoint::GuideFileEvents => Endpoint::FileEvents,
        other => other,
    }
}
