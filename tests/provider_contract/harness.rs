//! What a driver must bring to be put through the contract, and what the cases are written with.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use innkeeper::provider::{
    Amendment, Deletion, ErrorKind, Freshness, GuestWish, Key, ObservedGuest, Owner, Power, Provider, ProviderError,
};

/// The owner whose guests the cases make.
pub const OWNER: &str = "5d0c6f2e-cluster-of-the-tests";

/// How long a case waits for something that takes the server a moment. A real cloud takes longer than a simulator:
/// `INNKEEPER_PATIENCE` multiplies it.
pub fn soon() -> Duration {
    Duration::from_secs(10) * patience()
}

/// How many times as long as usual a case waits.
pub fn patience() -> u32 {
    std::env::var("INNKEEPER_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// A driver under test and the server it is tested against.
#[async_trait]
pub trait Driver: Send + Sync {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// An empty world. The one before it is over.
    async fn world(&self) -> Arc<dyn World>;

    /// Names of cases that make sense for this driver alone.
    fn own_cases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Cases that mean nothing for this driver, and why.
    fn without(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Runs one of them in an empty world.
    async fn run_own(&self, name: &str) {
        panic!("{} has no case {name} of its own", self.name());
    }

    /// Ends the server. Where all cases have run, what they came to as a whole is looked at: a sentence for people, or
    /// what is wrong.
    fn end(&self, all: bool) -> Result<String, String>;
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Connect {
    pub owner: Owner,
    pub wrong_credentials: bool,
    pub deadline: Duration,
}

impl Default for Connect {
    fn default() -> Self {
        Self { owner: Owner(OWNER.into()), wrong_credentials: false, deadline: Duration::from_secs(5) }
    }
}

/// Requests of a kind, whatever a provider calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The one that makes a VM.
    Create,
    /// Those that remove a VM.
    Delete,
    /// Those that read VMs.
    Read,
    /// Those that change a VM that is there: its disks, size, marks.
    Change,
    /// All.
    Any,
}

/// What goes wrong between driver and server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// The connection is reset before the server sees the request.
    LostRequest,
    /// The server acts, and its reply is lost.
    LostReply,
    /// The server acts, and half of its reply arrives.
    HalfReply,
    /// The server never replies.
    Silence,
    /// The server has no room.
    NoRoom,
    /// The server wants fewer requests. It does nothing.
    Throttled,
    /// The server has an error of its own. Whether it has acted is not known; here it has not.
    Broken,
}

/// A VM that was made, as the server itself remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub id: String,
    /// It exists, running or not.
    pub alive: bool,
    /// It was started at least once. A provider without idempotency may make more than one, and then starts one alone.
    pub ran: bool,
}

/// A server without VMs, seen by the driver through a network that breaks on demand and by the test without it.
#[async_trait]
pub trait World: Send + Sync {
    /// A connection through the network that breaks on demand. Some drivers ask the server then, and fail.
    async fn connect(&self, connect: Connect) -> Result<Arc<dyn Provider>, ProviderError>;

    /// The same server behind another network: trouble in one does not touch the other.
    async fn beside(&self) -> Arc<dyn World>;

    /// A guest that the server can run.
    fn wish(&self, key: Key) -> GuestWish;

    /// A guest whose image does not exist.
    fn wish_without_image(&self, key: Key) -> GuestWish;

    /// A guest that the server refuses for another reason.
    fn wish_invalid(&self, key: Key) -> GuestWish;

    /// Lets the next `times` requests go wrong; `None`: all from now on.
    async fn trouble(&self, request: Request, trouble: Trouble, times: Option<u64>);

    /// Lets each request go wrong with this probability, with dice of this seed.
    async fn storm(&self, seed: u64, troubles: &[(Request, Trouble, f64)]);

    /// Ends all trouble, and tells how often it struck.
    async fn heal(&self) -> u64;

    /// VMs that are made from now on cannot be seen by reads for a moment, where the provider has such moments.
    async fn hide_new(&self, time: Duration);

    /// Every VM that was ever made for this guest, from the server's own memory.
    async fn made_for(&self, guest: &str) -> Vec<Made>;

    /// Everything that carries the owner's marks and exists: VMs, disks.
    async fn left(&self, owner: &str) -> Vec<String>;

    /// Puts in VMs that are not ours and look as if they were: one with the guest's name and no marks, one with another
    /// owner's marks and this guest's UID, one with all our marks that somebody made as a copy of ours. Their ids.
    async fn plant_foreign(&self, wish: &GuestWish) -> Vec<String>;

    /// Whether all of these exist and run.
    async fn are_untouched(&self, ids: &[String]) -> bool;

    /// Stops or removes a VM as its owner would by hand.
    async fn meddle(&self, id: &str, remove: bool);

    /// Lets the VM's disks outlive it, as somebody may do by hand.
    async fn keep_disks(&self, id: &str);

    /// More VMs than one page of the driver's reads holds.
    fn more_than_a_page(&self) -> usize;

    /// What must never be seen in words.
    fn secrets(&self) -> Vec<String>;

    /// Sizes of the disks that a VM has, in GiB and in order of size. `None`: the test cannot see them.
    async fn disks(&self, _id: &str) -> Option<Vec<u64>> {
        None
    }

    /// What cloud-init is told in a VM. `None`: the test cannot see it.
    async fn first_boot(&self, _id: &str) -> Option<String> {
        None
    }

    /// The same guest in a larger size. `None`: the driver cannot resize.
    fn larger(&self, _wish: &GuestWish) -> Option<GuestWish> {
        None
    }

    /// Makes a running VM by hand, without any mark. `None`: the test cannot.
    async fn plain(&self, _wish: &GuestWish) -> Option<String> {
        None
    }

    /// Lets the system in a VM ignore that it is asked to shut down. `false`: the test cannot.
    async fn deafen(&self, _id: &str) -> bool {
        false
    }

    /// Whether the provider refuses to remove the VM by hand. `None`: it knows no such thing.
    async fn refuses_removal(&self, _id: &str) -> Option<bool> {
        None
    }
}

/// Why a case means nothing for a driver.
pub struct NotHere(pub String);

/// Ends the case: it means nothing for this driver.
pub fn not_here(why: &str) -> ! {
    std::panic::resume_unwind(Box::new(NotHere(why.to_owned())))
}

/// What the case needs, or its end.
pub fn needed<T>(thing: Option<T>, why: &str) -> T {
    thing.unwrap_or_else(|| not_here(why))
}

/// Ends the case where the driver says that it cannot do this at all.
pub fn supported<T>(result: Result<T, ProviderError>) -> Result<T, ProviderError> {
    match result {
        Err(error) if error.message == "this provider cannot do that" => not_here(&error.to_string()),
        result => result,
    }
}

/// Calls until the VM is as wished, and answers what it then is. What needs it to be off is an error.
pub async fn amended(provider: &dyn Provider, wish: &GuestWish) -> ObservedGuest {
    eventually(&format!("{} is as wished", wish.key), || async {
        match patient(supported(provider.amend(wish).await))? {
            Amendment::Done(guest) => Some(guest),
            Amendment::WhenOff(_, why) => panic!("{why}"),
        }
    })
    .await
}

/// The key of a guest.
pub fn key(n: usize) -> Key {
    Key {
        guest: format!("0f0b2ee8-9a3c-4a4d-8c1e-{n:012}"),
        incarnation: 1,
        namespace: "shop".into(),
        name: format!("web-{n}"),
    }
}

/// Polls until the answer is `Some`.
pub async fn eventually<T, Fut: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> Fut) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < soon(), "{what}: not within {:?}", soon());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the guest's VM shows this state in live reads.
pub async fn until_power(provider: &dyn Provider, key: &Key, power: Power) -> ObservedGuest {
    eventually(&format!("{key} is {power}"), || async {
        provider.find(key, Freshness::Live).await.unwrap().filter(|guest| guest.power == power)
    })
    .await
}

/// Creates the guest and brings it to running.
pub async fn lodge(provider: &dyn Provider, wish: &GuestWish) -> ObservedGuest {
    let made = eventually(&format!("{} is made", wish.key), || async { patient(provider.create(wish).await) }).await;
    assert_eq!(made.key, wish.key);
    if matches!(made.power, Power::Stopped) {
        eventually(&format!("{} is started", wish.key), || async { patient(provider.start(wish).await) }).await;
    }
    until_power(provider, &wish.key, Power::Running).await
}

/// What a caller does not give up for: it tries again.
pub fn patient<T>(result: Result<T, ProviderError>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(error) if matches!(error.kind, ErrorKind::UnknownOutcome | ErrorKind::Unavailable) => None,
        Err(error) => panic!("{}: {error}", error.kind),
    }
}

/// Deletes until nothing is left.
pub async fn clear(provider: &dyn Provider, key: &Key) {
    eventually(&format!("{key} is gone"), || async {
        patient(provider.delete(key).await).filter(|deletion| *deletion == Deletion::Gone)
    })
    .await;
}

/// The id of the guest's VM. No other may ever have run for it, nor be there.
pub async fn only_one(world: &dyn World, key: &Key) -> String {
    let made = world.made_for(&key.guest).await;
    let real: Vec<_> = made.iter().filter(|made| made.alive || made.ran).collect();
    assert_eq!(real.len(), 1, "VMs ever made for {key}: {made:?}");
    real[0].id.clone()
}

/// Whether it is not there, as far as the provider may tell.
pub fn is_gone(found: Option<&ObservedGuest>) -> bool {
    found.is_none_or(|guest| matches!(guest.power, Power::Terminating | Power::Terminated))
}

/// The failure, which must be of one of these kinds.
pub fn failed<T: std::fmt::Debug>(result: Result<T, ProviderError>, kinds: &[ErrorKind]) -> ProviderError {
    let error = result.expect_err("it must fail");
    assert!(kinds.contains(&error.kind), "{} is none of {kinds:?}: {error}", error.kind);
    error
}
