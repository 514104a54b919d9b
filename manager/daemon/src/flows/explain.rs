//! What the rules say of a destination, for a sandbox that lives or one that would be made.

use std::sync::Arc;

use lakekeep_api::{Reason, v1};
use lakekeep_egress_rules::{
    Destination, Explanation, Guard, Host, Ruleset, Transport, parse_destination,
};
use lakekeep_identity::UserName;
use lakekeep_policy::PolicyDoc;
use lakekeep_profiles::{Action, EgressBounds, Resource};
use lakekeep_sandbox::chain;
use lakekeep_store::audit::Event;
use tonic::Request;

use super::{LONGEST_NAME, Service, scope};
use crate::egress;
use crate::fault::Fault;
use crate::gate::{Gate, now};
use crate::sandbox::Phase;
use crate::who::Caller;

/// Longest destination, bytes: a name, and a port.
const LONGEST_DESTINATION: usize = 300;

/// Whose rules are asked.
struct Subject {
    user: String,
    profile: String,
    /// A live one; none where it would be made.
    sandbox: Option<String>,
    rules: Ruleset,
}

impl Service {
    /// Who asks, about which rules, and what these say; noted.
    pub(super) async fn explained(
        &self,
        request: Request<v1::ExplainEgressRequest>,
    ) -> Result<v1::ExplainEgressResponse, Fault> {
        let caller = self.gate.authentication.caller(&request).await?;
        let asked = request.into_inner();
        let destination = destination(&asked)?;
        let subject = match asked.sandbox.as_str() {
            "" => self.to_be_made(&caller, &asked).await?,
            id => self.live(&caller, id)?,
        };
        let event = Event::allowed(now(), caller.user(), "explain_egress")
            .with_profile(&subject.profile)
            .with_extra("of", &subject.user)
            .with_extra("destination", &destination.to_string());
        let event = match &subject.sandbox {
            Some(id) => event.with_sandbox(id),
            None => event,
        };
        self.gate.note(&caller, event).await?;
        let own = lakekeep_sys::net::own_addresses()
            .map_err(|error| Fault::internal("read this host's own addresses", &error))?;
        let guard = Guard::new(own);
        let explanation = subject.rules.explain(&destination, &guard, &self.fixed);
        Ok(subject.answer(explanation))
    }

    /// The rules that hold in a sandbox that the caller may inspect.
    fn live(&self, caller: &Caller, id: &str) -> Result<Subject, Fault> {
        let sandbox = self.registry.get(id)?;
        let meta = &sandbox.meta;
        self.gate.check_sandbox(caller, Action::Inspect, meta)?;
        if matches!(sandbox.phase(), Phase::Ended(..)) {
            let message = format!("sandbox {id:?} has ended; `lakekeep ps` lists those that live");
            return Err(Fault::new(Reason::NotFound, message));
        }
        let outlet = sandbox.outlet().ok_or_else(|| {
            let message = format!(
                "sandbox {id:?} was made without a way out, and nothing leaves it; make another \
                 whose profile has [egress] and whose preset may open sockets"
            );
            Fault::new(Reason::NotFound, message)
        })?;
        Ok(Subject {
            user: meta.owner.clone(),
            profile: meta.profile.clone(),
            sandbox: Some(meta.id.clone()),
            rules: egress::ruleset(&outlet.rules())?,
        })
    }

    /// The rules of a sandbox that a user would get.
    async fn to_be_made(
        &self,
        caller: &Caller,
        asked: &v1::ExplainEgressRequest,
    ) -> Result<Subject, Fault> {
        let user = match asked.user.as_str() {
            "" => caller.clone(),
            own if own == caller.user() => caller.clone(),
            other => {
                scope::of(&self.gate, caller, other, &asked.profile)?;
                self.stranger(other).await?
            }
        };
        let name = profile_name(&self.gate, (caller, &user), &asked.profile)?;
        let set = self.gate.profiles.current();
        let profile = self.gate.profile(&set, caller, &name)?.profile();
        let resource = Resource::Profile(profile);
        if user.user() == caller.user() {
            self.gate.check(caller, Action::CreateSandbox, resource)?;
        } else if !self.gate.may(&user, Action::CreateSandbox, resource) {
            let message = format!(
                "{} may make no sandbox in profile {name}; name another",
                user.user()
            );
            return Err(Fault::new(Reason::Denied, message));
        }
        let bad = |message: String| Fault::new(Reason::BadPolicy, message);
        let policy = match asked.policy.trim() {
            "" => PolicyDoc::default(),
            text => PolicyDoc::from_toml("policy", text).map_err(|error| bad(error.to_string()))?,
        };
        let nothing = EgressBounds::nothing();
        let levels = profile.egress().unwrap_or(&nothing);
        let rules = levels.levels(policy.egress.as_ref()).ruleset();
        Ok(Subject {
            user: user.user().to_owned(),
            profile: name,
            sandbox: None,
            rules: rules.map_err(|errors| bad(errors.to_string()))?,
        })
    }

    async fn stranger(&self, user: &str) -> Result<Caller, Fault> {
        let user = UserName::new(user)
            .map_err(|error| Fault::new(Reason::BadRequest, format!("user: {error}")))?;
        let gate = Arc::clone(&self.gate);
        tokio::task::spawn_blocking(move || gate.authentication.stranger(&user))
            .await
            .map_err(|error| Fault::internal("wait for a thread", &error))?
    }
}

/// The profile in which a user's sandbox would be made. Of somebody else none is made for it.
fn profile_name(
    gate: &Gate,
    (caller, user): (&Caller, &Caller),
    named: &str,
) -> Result<String, Fault> {
    if !named.is_empty() || caller.user() == user.user() {
        return gate.profile_name(caller, named);
    }
    let names = match &gate.personal {
        Some(template) => {
            let made = gate.profiles.personal_made(template, user.user());
            let made = made.map_err(|error| Fault::new(Reason::BadRequest, chain(&error)))?;
            made.map(|name| name.to_string()).into_iter().collect()
        }
        None => gate.usable(user),
    };
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Fault::new(
            Reason::NotFound,
            format!("{} has no profile yet; name one", user.user()),
        )),
        many => Err(Fault::new(
            Reason::BadRequest,
            format!("name a profile: {} has {}", user.user(), many.join(", ")),
        )),
    }
}

fn destination(asked: &v1::ExplainEgressRequest) -> Result<Destination, Fault> {
    let bad = |message: String| Fault::new(Reason::BadRequest, message);
    let others = [&asked.user, &asked.profile, &asked.policy];
    if !asked.sandbox.is_empty() && others.iter().any(|text| !text.is_empty()) {
        let message = "a sandbox has its user, profile and policy; name it alone";
        return Err(bad(message.to_owned()));
    }
    let names = [&asked.user, &asked.profile, &asked.sandbox];
    if names.iter().any(|text| text.len() > LONGEST_NAME) {
        return Err(bad(format!("a name is longer than {LONGEST_NAME} bytes")));
    }
    if asked.destination.len() > LONGEST_DESTINATION {
        let message = format!("the destination is longer than {LONGEST_DESTINATION} bytes");
        return Err(bad(message));
    }
    let (host, port) = parse_destination(&asked.destination).map_err(|error| {
        bad(format!(
            "{:?} is no destination: {error}",
            asked.destination
        ))
    })?;
    let (name, address) = match host {
        Host::Name(name) => (Some(name), None),
        Host::Address(address) => (None, Some(address)),
    };
    Ok(Destination {
        name,
        address,
        port: Some(port),
        transport: Transport::Tcp,
    })
}

impl Subject {
    fn answer(self, explanation: Explanation) -> v1::ExplainEgressResponse {
        v1::ExplainEgressResponse {
            passes: explanation.passes,
            destination: explanation.destination,
            rule: explanation.rule,
            words: explanation.words,
            remedy: explanation.remedy,
            explained: explanation.lines,
            user: self.user,
            profile: self.profile,
        }
    }
}
