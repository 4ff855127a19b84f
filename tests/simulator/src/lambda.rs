//! Lambda: runs the real binary as a child process through the Runtime API, or, in a simulation, a future.

mod process;
mod runtime_api;
mod within;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::TimeDelta;
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;

use crate::locked;
use process::{Child, Process};
use within::Within;
pub use within::{Begin, Container, Life};

/// The end of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Answer(Value),
    /// The function answered with an error, or failed to start.
    Failed {
        error_type: String,
        error_message: String,
    },
    /// The process ended without an answer.
    Died(ExitStatus),
    /// The deadline passed without an answer. The process was killed, as Lambda does.
    TimedOut,
}

impl Outcome {
    /// Returns the answer, or panics if there is none.
    pub fn answer(self) -> Value {
        match self {
            Self::Answer(answer) => answer,
            other => panic!("there is no answer but {other:?}"),
        }
    }

    /// Returns the error's type and message, or panics if there is none.
    pub fn error(self) -> (String, String) {
        match self {
            Self::Failed { error_type, error_message } => (error_type, error_message),
            other => panic!("there is no error but {other:?}"),
        }
    }
}

/// The setup of a Lambda function.
#[derive(Debug, Clone)]
pub struct LambdaBuilder {
    binary: PathBuf,
    variables: BTreeMap<String, String>,
    /// The process is killed this long after its deadline.
    grace: Duration,
    /// The alias of the invocation, if any.
    alias: Option<String>,
}

impl LambdaBuilder {
    pub(crate) fn new(binary: &Path, variables: BTreeMap<String, String>) -> Self {
        Self { binary: binary.to_owned(), variables, grace: Duration::ZERO, alias: None }
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Kills the process only this long after its deadline, to see what it does then by itself, as after a thaw.
    #[must_use]
    pub fn outliving_its_deadline(mut self, by: Duration) -> Self {
        self.grace = by;
        self
    }

    #[must_use]
    pub fn invoked_as(mut self, alias: &str) -> Self {
        self.alias = Some(alias.to_owned());
        self
    }

    /// A function whose process starts with the first invocation, and again after it died.
    pub fn start(self) -> Lambda {
        Lambda(Place::Process(Arc::new(Function {
            setup: self,
            process: AsyncMutex::default(),
            child: Mutex::default(),
            logs: Arc::default(),
        })))
    }

    /// The same, as a future in this process.
    pub fn start_within(self, begin: Begin) -> Lambda {
        Lambda(Place::Within(Arc::new(Within::new(begin, self.grace, self.variables))))
    }
}

/// One execution environment: one process, one invocation at a time. Cheap to clone; dropping the last clone kills the
/// process.
#[derive(Clone)]
pub struct Lambda(Place);

#[derive(Clone)]
enum Place {
    Process(Arc<Function>),
    Within(Arc<Within>),
}

#[derive(Debug)]
struct Function {
    setup: LambdaBuilder,
    process: AsyncMutex<Option<Process>>,
    /// Separate from the process, which is locked during an invocation.
    child: Mutex<Option<Child>>,
    logs: Arc<Mutex<Vec<String>>>,
}

impl Lambda {
    /// Sends an event and waits for its outcome until the deadline. Invocations of one Lambda wait for each other.
    pub async fn invoke(&self, event: Value, deadline: Duration) -> Outcome {
        self.invoke_with(&event.to_string(), deadline).await
    }

    /// The same with a payload that need not be JSON.
    pub async fn invoke_with(&self, payload: &str, deadline: Duration) -> Outcome {
        let function = match &self.0 {
            Place::Process(function) => function,
            Place::Within(within) => return within.invoke(payload, deadline).await,
        };
        let mut slot = function.process.lock().await;
        if let Some(process) = slot.as_ref().filter(|process| process.child().was_killed()) {
            process.exit().await;
        }
        if slot.as_ref().is_none_or(|process| process.child().is_over()) {
            let setup = &function.setup;
            let started = Process::start(&setup.binary, &setup.variables, setup.alias.clone(), &function.logs).await;
            let started =
                started.unwrap_or_else(|error| panic!("{} can't be started: {error}", setup.binary.display()));
            *locked(&function.child) = Some(started.child().clone());
            *slot = Some(started);
        }
        let Some(process) = slot.as_mut() else { unreachable!("it has just been put there") };
        tokio::select! {
            biased;
            outcome = process.runtime().invoke(payload, deadline) => outcome,
            status = process.exit() => process.runtime().init_error().unwrap_or(Outcome::Died(status)),
            () = tokio::time::sleep(deadline + function.setup.grace) => {
                process.child().signal("KILL");
                process.exit().await;
                Outcome::TimedOut
            }
        }
    }

    /// Sends SIGKILL. The next invocation is a cold start. A fault's hook may call it.
    pub fn kill(&self) {
        match &self.0 {
            Place::Process(function) => function.signal("KILL"),
            Place::Within(within) => within.kill(),
        }
    }

    /// Sends SIGSTOP, as Lambda does between invocations; see [`Self::thaw`].
    pub fn freeze(&self) {
        match &self.0 {
            Place::Process(function) => function.signal("STOP"),
            Place::Within(within) => within.freeze(),
        }
    }

    /// Returns false if the frozen container has died since, as far as that is known.
    pub fn thaw(&self) -> bool {
        match &self.0 {
            Place::Process(function) => {
                function.signal("CONT");
                true
            }
            Place::Within(within) => within.thaw(),
        }
    }

    /// Lets the next run, or the present one, die after so many steps, each from one `await` to the next. Does nothing
    /// if the run ends earlier. Only for a future in this process.
    pub fn die_after(&self, steps: u64) {
        if let Place::Within(within) = &self.0 {
            within.die_after(steps);
        }
    }

    /// Sets its clock apart from the world's. Only for a future in this process.
    pub fn set_clock_ahead(&self, by: TimeDelta) {
        if let Place::Within(within) = &self.0 {
            within.set_clock_ahead(by);
        }
    }

    /// The lines of standard output and standard error of all its processes.
    pub fn logs(&self) -> Vec<String> {
        match &self.0 {
            Place::Process(function) => locked(&function.logs).clone(),
            Place::Within(_) => Vec::new(),
        }
    }

    /// The id of the running process.
    pub fn pid(&self) -> Option<u32> {
        match &self.0 {
            Place::Process(function) => locked(&function.child).as_ref().and_then(Child::pid),
            Place::Within(_) => None,
        }
    }
}

impl Function {
    fn signal(&self, name: &str) {
        if let Some(child) = &*locked(&self.child) {
            child.signal(name);
        }
    }
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Process(function) => function.fmt(f),
            Place::Within(_) => f.write_str("a function within this process"),
        }
    }
}
