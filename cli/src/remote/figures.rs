//! What sandboxes use, and what happens to them.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::SystemTime;

use lakekeep_client::{Client, Reason, v1};

use super::show::{self, Cell, clean, limit, size, thousandths};
use super::tell::{self, moment, stamp};
use super::{Answer, print};
use crate::args::remote::{EventsArgs, StatsArgs, TopArgs};
use crate::report::Messages;

/// `lakekeep stats`
pub async fn stats(client: Client, arguments: StatsArgs) -> Answer {
    let sandbox = arguments.sandbox.unwrap_or_default();
    let mut samples = client.stats(&sandbox, None).await?;
    while let Some(sample) = samples.next().await? {
        let text = match arguments.via.json {
            true => lines(&sample),
            false => figures(&sample.sandboxes, &HashMap::new()),
        };
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(sample: &v1::StatsSample) -> String {
    let lines = sample.sandboxes.iter().map(|stats| {
        let line = tell::stats(sample.time.as_ref(), stats);
        format!("{line}\n")
    });
    lines.collect()
}

/// A table of figures; `busy`: thousandths of a processor, where they are known.
fn figures(all: &[v1::SandboxStats], busy: &HashMap<String, u64>) -> String {
    let mut all: Vec<&v1::SandboxStats> = all.iter().collect();
    all.sort_by_key(|stats| {
        let busy = busy.get(&stats.sandbox).copied().unwrap_or(0);
        (
            std::cmp::Reverse((busy, stats.memory)),
            stats.sandbox.clone(),
        )
    });
    let rows = all.into_iter().map(|stats| {
        let busy = busy.get(&stats.sandbox);
        vec![
            stats.sandbox.as_str().into(),
            stats.profile.as_str().into(),
            Cell::figure(busy.map_or("-".to_owned(), |busy| percent(*busy))),
            Cell::figure(seconds(stats.cpu_us)),
            Cell::figure(thousandths(stats.cpus_milli.into())),
            Cell::figure(size(stats.memory)),
            Cell::figure(limit(stats.memory_limit)),
            Cell::figure(format!("{}/{}", stats.pids, stats.pids_limit)),
            Cell::figure(seconds(stats.throttled_us)),
            Cell::figure(stats.oom_kills.to_string()),
        ]
    });
    let heading = [
        "SANDBOX", "PROFILE", "CPU", "TIME", "CPUS", "MEMORY", "LIMIT", "PIDS", "HELD", "OOM",
    ];
    show::table(&heading, &rows.collect::<Vec<_>>(), false)
}

/// Thousandths of a processor as per cent of one.
fn percent(thousandths: u64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

fn seconds(micros: u64) -> String {
    let tenths = micros / 100_000;
    match tenths {
        0..6000 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => format!("{}m{:02}s", tenths / 600, tenths / 10 % 60),
    }
}

/// CPU time of each sandbox at one moment.
#[derive(Default)]
struct Seen {
    at: Option<SystemTime>,
    cpu: HashMap<String, u64>,
}

impl Seen {
    fn of(sample: &v1::StatsSample) -> Self {
        let cpu = sample.sandboxes.iter();
        Self {
            at: moment(sample.time.as_ref()),
            cpu: cpu
                .map(|stats| (stats.sandbox.clone(), stats.cpu_us))
                .collect(),
        }
    }

    /// How busy each sandbox was since `before`, thousandths of a processor.
    fn busy_since(&self, before: &Self) -> HashMap<String, u64> {
        let span = self.at.zip(before.at);
        let span = span.and_then(|(now, before)| now.duration_since(before).ok());
        let micros = span.map_or(0, |span| u64::try_from(span.as_micros()).unwrap_or(0));
        let busy = self.cpu.iter().filter_map(|(id, now)| {
            let used = now.saturating_sub(*before.cpu.get(id)?);
            Some((id.clone(), used.saturating_mul(1000).checked_div(micros)?))
        });
        busy.collect()
    }
}

/// `lakekeep top`
pub async fn top(client: Client, arguments: TopArgs) -> Answer {
    let mut samples = client.stats("", Some(arguments.interval)).await?;
    let terminal = rustix::termios::isatty(rustix::stdio::stdout()) && !arguments.via.json;
    let mut before = Seen::default();
    let mut looks = 0;
    while arguments.count.is_none_or(|count| looks < count) {
        let Some(sample) = samples.next().await? else {
            break;
        };
        looks += 1;
        let seen = Seen::of(&sample);
        let text = match arguments.via.json {
            true => lines(&sample),
            false => screen(&sample, &seen.busy_since(&before)),
        };
        before = seen;
        print(&match terminal {
            // Home, and what is left of the last look away.
            true => format!("\x1b[H\x1b[2J{}", fitting(&text)),
            false if arguments.via.json => text,
            false => format!("{text}\n"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As many lines as the terminal has.
fn fitting(text: &str) -> String {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    let rows = size.map_or(24, |size| usize::from(size.ws_row)).max(2);
    let lines: Vec<&str> = text.lines().take(rows - 1).collect();
    lines.join("\n") + "\n"
}

fn screen(sample: &v1::StatsSample, busy: &HashMap<String, u64>) -> String {
    let memory = sample.sandboxes.iter().map(|stats| stats.memory).sum();
    let all: u64 = busy.values().sum();
    format!(
        "{}  {} sandboxes  cpu {}  memory {}\n{}",
        stamp(sample.time.as_ref()),
        sample.sandboxes.len(),
        percent(all),
        size(memory),
        figures(&sample.sandboxes, busy)
    )
}

/// `lakekeep events`
pub async fn events(client: Client, arguments: EventsArgs) -> Answer {
    let mut request = v1::EventsRequest {
        sandbox: arguments.sandbox.unwrap_or_default(),
        after: arguments.after.unwrap_or(0),
        all_users: arguments.all_users,
        from_oldest: arguments.oldest || !arguments.follow,
        no_follow: !arguments.follow,
    };
    let messages = Messages {
        json: arguments.via.json,
    };
    let mut events = client.events(request.clone()).await?;
    loop {
        match events.next().await {
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Ok(Some(event)) => print(&match arguments.via.json {
                true => format!("{}\n", tell::event(&event)),
                false => line(&event),
            })?,
            // The manager is another than before, or we were away for too long.
            Err(error) if arguments.follow && error.reason() == Some(Reason::OutputGone) => {
                messages.say(
                    "warning",
                    "some events were missed; these are the oldest that are kept",
                );
                (request.after, request.from_oldest) = (0, true);
                events = client.events(request.clone()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn line(event: &v1::Event) -> String {
    let of = match event.task {
        0 => event.sandbox.clone(),
        task => format!("{}/{task}", event.sandbox),
    };
    let text = format!(
        "{}  {:<8}  {of}  {}  {}",
        stamp(event.time.as_ref()),
        event.what,
        event.owner,
        event.detail
    );
    format!("{}\n", clean(text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, cpu_us: u64) -> v1::StatsSample {
        v1::StatsSample {
            time: Some(prost_types::Timestamp {
                seconds: second,
                nanos: 0,
            }),
            sandboxes: vec![v1::SandboxStats {
                sandbox: "0a1b".to_owned(),
                profile: "churn".to_owned(),
                memory: 300 << 20,
                memory_limit: 1 << 30,
                cpu_us,
                cpus_milli: 1500,
                pids: 3,
                pids_limit: 64,
                ..v1::SandboxStats::default()
            }],
        }
    }

    #[test]
    fn a_look_shows_how_busy_a_sandbox_was_since_the_last() {
        let (first, second) = (sample(10, 1_000_000), sample(12, 4_000_000));
        let busy = Seen::of(&second).busy_since(&Seen::of(&first));
        assert_eq!(
            screen(&second, &busy),
            "1970-01-01T00:00:12.000Z  1 sandboxes  cpu 150.0%  memory 300 MiB\n\
             SANDBOX  PROFILE     CPU  TIME  CPUS   MEMORY  LIMIT  PIDS  HELD  OOM\n\
             0a1b     churn    150.0%  4.0s   1.5  300 MiB   1GiB  3/64  0.0s    0\n"
        );
        assert!(Seen::of(&first).busy_since(&Seen::default()).is_empty());
    }

    #[test]
    fn an_event_is_one_line_that_steers_no_terminal() {
        let event = v1::Event {
            number: 4,
            time: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 5_000_000,
            }),
            what: "exited".to_owned(),
            sandbox: "0a1b".to_owned(),
            task: 2,
            owner: "ann".to_owned(),
            detail: "a\nb".to_owned(),
            ..v1::Event::default()
        };
        assert_eq!(
            line(&event),
            "1970-01-01T00:00:00.005Z  exited    0a1b/2  ann  a\\nb\n"
        );
        assert!(tell::event(&event).to_string().contains("\"number\":4"));
    }

    #[test]
    fn spans_of_cpu_time_are_short() {
        assert_eq!(seconds(1_234_567), "1.2s");
        assert_eq!(seconds(3_725_000_000), "62m05s");
    }
}
