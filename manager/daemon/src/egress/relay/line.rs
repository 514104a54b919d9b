//! The connection to the relay, and to the next one when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use lakekeep_protocol::relay::{ServeSpec, ServedSandbox};
use lakekeep_protocol::{Channel, ProtocolError, RelayReply, RelayRequest};
use lakekeep_sandbox::service;
use rustix::net::Shutdown;

use super::{Entry, Job, Shared, lock};

/// Until a relay is asked again that was not there.
const PAUSE: Duration = Duration::from_millis(50);

type Channels = Channel<RelayRequest, RelayReply>;

/// One connection.
struct Line<'a> {
    shared: &'a Arc<Shared>,
    channel: Arc<Channels>,
    /// Which it is.
    number: u64,
    /// What the relay serves, as far as it has listed it; `None` once both agree.
    listed: Option<BTreeMap<String, String>>,
}

/// Why a line ends.
enum End {
    /// Its relay is gone.
    Lost,
    /// Nobody has anything to ask any more.
    Over,
}

/// Speaks to one relay after the other.
pub fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>) {
    for number in 1.. {
        let Some(channel) = connect(shared, jobs) else {
            return;
        };
        let channel = Arc::new(channel);
        let line = Line {
            shared,
            channel: Arc::clone(&channel),
            number,
            listed: Some(BTreeMap::new()),
        };
        match line.speak(jobs) {
            Ok(End::Over) => return,
            Ok(End::Lost) => tracing::warn!("the relay ended; connecting to the next"),
            Err(error) => tracing::warn!("the relay is not heard: {error}"),
        }
        // Whoever still hears it ends too.
        if rustix::net::shutdown(channel.as_fd(), Shutdown::Both).is_err() {
            // It is closed already.
        }
        shared.lost();
    }
}

/// The next relay. What is asked meanwhile is noted, and told when there is one.
fn connect(shared: &Shared, jobs: &Receiver<Job>) -> Option<Channels> {
    loop {
        match service::connect(&shared.path) {
            Ok(socket) => return Some(Channel::new(socket).of_answers()),
            Err(errno) => {
                tracing::error!("the relay at {}: {errno}", shared.path.display());
                let until = Instant::now() + PAUSE;
                loop {
                    let left = until.saturating_duration_since(Instant::now());
                    match jobs.recv_timeout(left) {
                        Ok(Job::Sync(_)) => lock(&shared.syncs).clear(),
                        Ok(_) => {}
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => return None,
                    }
                }
            }
        }
    }
}

impl Line<'_> {
    /// Asks what is served, brings it together with what is to be, and then asks as it comes.
    fn speak(mut self, jobs: &Receiver<Job>) -> Result<End, ProtocolError> {
        let (shared, channel) = (Arc::clone(self.shared), Arc::clone(&self.channel));
        let number = self.number;
        let heard = std::thread::Builder::new().name("relay-hears".to_owned());
        let heard = heard.spawn(move || {
            hear(&shared, &channel, number);
            if shared.jobs.send(Job::Ended(number)).is_err() {
                // The process ends.
            }
        });
        if let Err(error) = heard {
            tracing::error!("no thread hears the relay: {error}");
            return Ok(End::Over);
        }
        self.offer()?;
        self.list(String::new())?;
        loop {
            match jobs.recv() {
                Err(mpsc::RecvError) => return Ok(End::Over),
                Ok(Job::Ended(number)) if number == self.number => return Ok(End::Lost),
                Ok(Job::Listed(number, some)) if number == self.number => self.listed(some)?,
                Ok(job) => self.ask(job)?,
            }
        }
    }

    fn ask(&self, job: Job) -> Result<(), ProtocolError> {
        // Until both agree, what is noted is looked at when they do.
        let agreed = self.listed.is_none();
        match job {
            Job::Serve(id) if agreed => self.with(&id, |entry| self.serve(&id, entry)),
            Job::Update(id) if agreed => self.with(&id, |entry| self.update(&id, entry)),
            Job::Stop(id) if agreed => self.send(&RelayRequest::Stop { sandbox: id }),
            Job::Sync(nonce) => self.send(&RelayRequest::Sync { nonce }),
            Job::Noted(told) => self.send(&RelayRequest::Noted { told }),
            _ => Ok(()),
        }
    }

    fn with(
        &self,
        id: &str,
        ask: impl FnOnce(&Entry) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        match lock(&self.shared.entries).get(id) {
            Some(entry) if !entry.over => ask(entry),
            _ => Ok(()),
        }
    }

    fn serve(&self, id: &str, entry: &Entry) -> Result<(), ProtocolError> {
        let spec = ServeSpec {
            sandbox: id.to_owned(),
            profile: Some(entry.whose.profile.clone()),
            rules: entry.rules.clone(),
        };
        let sockets = entry.sockets.each_ref().map(AsFd::as_fd);
        let request = RelayRequest::Serve(Box::new(spec));
        self.channel.send(&request, &sockets)
    }

    fn update(&self, id: &str, entry: &Entry) -> Result<(), ProtocolError> {
        self.send(&RelayRequest::Update {
            sandbox: id.to_owned(),
            rules: entry.rules.clone(),
        })
    }

    /// Says what is answered here, before anything is to be served that may be granted it.
    fn offer(&self) -> Result<(), ProtocolError> {
        let offer = &self.shared.offer;
        let request = RelayRequest::Services {
            services: offer.services.clone(),
        };
        self.channel.send(&request, &[offer.folder.as_fd()])
    }

    fn send(&self, request: &RelayRequest) -> Result<(), ProtocolError> {
        self.channel.send(request, &[])
    }

    fn list(&self, after: String) -> Result<(), ProtocolError> {
        self.send(&RelayRequest::List { after })
    }

    /// The relay serves these too; none: that was all.
    fn listed(&mut self, some: Vec<ServedSandbox>) -> Result<(), ProtocolError> {
        let Some(listed) = &mut self.listed else {
            return Ok(());
        };
        let last = some.last().map(|last| last.sandbox.clone());
        listed.extend(some.into_iter().map(|one| (one.sandbox, one.digest)));
        match last {
            Some(last) => self.list(last),
            None => self.agree(),
        }
    }

    /// Stops what nobody knows, puts the rules that hold in force, serves what is not served.
    fn agree(&mut self) -> Result<(), ProtocolError> {
        let served = self.listed.take().unwrap_or_default();
        let mut agreed = BTreeSet::new();
        for (id, entry) in lock(&self.shared.entries).iter() {
            match served.get(id) {
                _ if entry.over => continue,
                None => self.serve(id, entry)?,
                Some(digest) if *digest == entry.digest => {
                    agreed.insert(id.clone());
                }
                Some(_) => self.update(id, entry)?,
            }
        }
        for id in &agreed {
            self.shared.answered(id, Ok(()));
        }
        let known = |id: &String| {
            let entries = lock(&self.shared.entries);
            entries.get(id).is_some_and(|entry| !entry.over)
        };
        for sandbox in served.into_keys().filter(|id| !known(id)) {
            self.send(&RelayRequest::Stop { sandbox })?;
        }
        Ok(())
    }
}

/// Hears a relay until it ends.
fn hear(shared: &Shared, channel: &Channels, number: u64) {
    let later = |job| {
        if shared.jobs.send(job).is_err() {
            // The process ends.
        }
    };
    loop {
        match channel.receive() {
            Ok(Some((RelayReply::Flow(receipt), _))) => {
                shared.note(&receipt);
                later(Job::Noted(1));
            }
            Ok(Some((RelayReply::Lost { flows }, _))) => {
                shared.sink.lost(flows);
                later(Job::Noted(1));
            }
            Ok(Some((RelayReply::Serving { sandbox }, _))) => shared.answered(&sandbox, Ok(())),
            Ok(Some((RelayReply::Refused { sandbox, reason }, _))) => {
                shared.answered(&sandbox, Err(reason));
            }
            Ok(Some((RelayReply::Stopped { sandbox }, _))) => shared.stopped(&sandbox),
            Ok(Some((RelayReply::Served(some), _))) => later(Job::Listed(number, some)),
            Ok(Some((RelayReply::Synced { nonce }, _))) => {
                let waiting = lock(&shared.syncs).remove(&nonce);
                if waiting.is_some_and(|waiting| waiting.send(()).is_err()) {
                    // Nobody waits any more.
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!("the relay cannot be understood: {error}");
                return;
            }
        }
    }
}
