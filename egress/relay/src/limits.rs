//! What is said of a flow that a limit ended or refused: which limit, its value, and what to
//! change.

use lakekeep_egress_rules::Limits;

use crate::totals::Member;

/// So many new connections wait already that this one would not have its turn in time.
pub fn arrivals(to: &str, limits: &Limits) -> String {
    format!(
        "denied egress to {to}: more than {} new connections a second, and it would not have had \
         its turn within {} s; make fewer, or raise new_per_second in [limits]",
        limits.new_per_second,
        limits.connect.as_secs()
    )
}

/// The same of what sandboxes have together.
pub fn total_arrivals(to: &str, member: &Member, limits: &Limits) -> String {
    let (whose, total) = (member.whose(), member.total());
    format!(
        "denied egress to {to}: {whose} of {} new connections a second is used up, and it would not \
         have had its turn within {} s; make fewer, or have new_per_second raised in {}",
        total.new_per_second.unwrap_or(u32::MAX),
        limits.connect.as_secs(),
        whose.place()
    )
}

/// One was refused, and `more` since it was last told.
pub fn refused(to: &str, more: u64, why: &str) -> String {
    match more {
        0 => format!("denied egress to {to}: {why}"),
        more => format!("denied egress to {to} (and {more} more): {why}"),
    }
}

/// As many connections live as may, and none of them ended in a while.
pub fn connections(limits: &Limits) -> String {
    format!(
        "{} connections are open, the most that may be; close some, or raise connections in [limits]",
        limits.connections
    )
}

/// The same of what sandboxes have together.
pub fn total_connections(member: &Member) -> String {
    let whose = member.whose();
    format!(
        "{whose} of {} connections is used up; have some closed, or connections raised in {}",
        member.total().connections.unwrap_or(u32::MAX),
        whose.place()
    )
}

/// The client did not say for whom it is.
pub fn first_bytes(limits: &Limits) -> String {
    format!(
        "it was not said within {} s for whom the stream is; send the whole request or client \
         hello, allow the name with \"tcp\" if its server speaks first, or raise \
         first_bytes_seconds in [limits]",
        limits.first_bytes.as_secs()
    )
}

/// Nothing was said, or what was said was not taken.
pub fn idle(limits: &Limits) -> String {
    format!(
        "ended because nothing was carried for {} s; raise idle_seconds in [limits], or have the \
         connection say something now and then",
        limits.idle.as_secs()
    )
}

/// The destination did not answer.
pub fn connect(limits: &Limits) -> String {
    format!(
        "no answer within {} s; raise connect_seconds in [limits] if it is that slow",
        limits.connect.as_secs()
    )
}
