//! The collector's environment on loopback, each part on its own port: the Incydr API, S3, Secrets Manager and the
//! Lambda Runtime API. Used in tests only: a wrong setup panics and says why.
//!
//! * [`world`]: the tenant's records, as raw text
//! * [`api`]: the Incydr API that serves them; [`fault`]: its faults
//! * [`s3`]: a store behind a proxy that logs requests and injects faults
//! * [`secrets`], [`lambda`]: the AWS services around the function
//! * [`http`]: the HTTP server of all of them; [`clock`]: their clock
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "test equipment: a panic is a failed test, and an answer that nobody looks at does no harm"
)]

pub mod api;
pub mod clock;
pub mod fault;
pub mod http;
pub mod lambda;
pub mod s3;
pub mod secrets;
pub mod world;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::json;

pub use api::{Api, ApiRequest, Behaviour, EdgePolicy, Precision, SessionFilter, TokenEnd, span_asked};
pub use fault::{Ailment, Endpoint, Fault, Faults, Hook};
pub use lambda::{Begin, Container, Lambda, LambdaBuilder, Life, Outcome};
pub use s3::{ExternalS3, Object, S3, S3Fault, S3Request};
pub use secrets::{Secrets, SecretsFault};
pub use world::{
    Dataset, Late, Record, WorldHandle, actor_item, compact, member_text, reordered, text_at, with_member,
    without_members,
};

/// The name of the secret with the API client's credentials.
pub const SECRET_ID: &str = "incydr/api";

/// The options at the start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub seed: u64,
    /// The directory of the built-in store's files. None means a temporary directory.
    pub directory: Option<PathBuf>,
    /// A store to use instead of the built-in one. Each simulator has its own bucket there.
    pub external_s3: Option<ExternalS3>,
    /// The API's port; 0 takes a free one.
    pub api_port: u16,
    pub behaviour: Behaviour,
}

impl Options {
    /// Uses the store that `SIMULATOR_S3_ENDPOINT` names (with `SIMULATOR_S3_ACCESS_KEY` and
    /// `SIMULATOR_S3_SECRET_KEY`), so that the same tests run against it. Otherwise the built-in one.
    pub fn from_vars(seed: u64, variable: impl Fn(&str) -> Option<String>) -> Self {
        let external_s3 = variable("SIMULATOR_S3_ENDPOINT").map(|endpoint| ExternalS3 {
            endpoint,
            access_key: variable("SIMULATOR_S3_ACCESS_KEY").unwrap_or_default(),
            secret_key: variable("SIMULATOR_S3_SECRET_KEY").unwrap_or_default(),
        });
        Self { seed, external_s3, ..Self::default() }
    }
}

/// All parts, running. They are cheap to clone into a fault's hook.
#[derive(Debug)]
pub struct Simulator {
    pub world: WorldHandle,
    pub api: Api,
    pub faults: Faults,
    pub s3: S3,
    pub secrets: Secrets,
    bucket: String,
}

impl Simulator {
    /// Starts with a world that has only its customer, the built-in store (or the one that [`Options::from_vars`]
    /// finds), and no faults.
    pub async fn start(seed: u64) -> Self {
        let options = Options::from_vars(seed, |name| std::env::var(name).ok());
        Self::start_with(options).await.expect("loopback has free ports and the store answers")
    }

    pub async fn start_with(options: Options) -> io::Result<Self> {
        let world = WorldHandle::new(options.seed);
        let faults = Faults::default();
        let behaviour = options.behaviour;
        let secret = json!({"client_id": behaviour.client_id, "client_secret": behaviour.client_secret});
        let secrets = Secrets::start(SECRET_ID, secret.to_string()).await?;
        let api = Api::start(world.clone(), faults.clone(), behaviour, options.api_port).await?;
        let (s3, bucket) = match options.external_s3 {
            None => (S3::start_builtin(options.directory).await?, "records".to_owned()),
            Some(store) => (S3::start_before(store).await?, format!("records-{:016x}", fastrand::u64(..))),
        };
        s3.create_bucket(&bucket).await;
        Ok(Self { world, api, faults, s3, secrets, bucket })
    }

    /// The same without sockets and in simulated time: everything is called as a function.
    pub fn in_memory(seed: u64) -> Self {
        let (world, faults, behaviour) = (WorldHandle::new(seed), Faults::default(), Behaviour::default());
        let secret = json!({"client_id": behaviour.client_id, "client_secret": behaviour.client_secret});
        Self {
            api: Api::in_memory(world.clone(), faults.clone(), behaviour),
            s3: S3::in_memory(),
            secrets: Secrets::in_memory(SECRET_ID, secret.to_string()),
            bucket: "records".to_owned(),
            world,
            faults,
        }
    }

    /// The records' bucket, which also holds the state unless a test sets another.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// A function with the environment that it needs here. Tests add further settings.
    pub fn lambda(&self, binary: &Path) -> LambdaBuilder {
        LambdaBuilder::new(binary, self.environment())
    }

    /// The environment of a deployed function, without the Runtime API.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let (access_key, secret_key) = self.s3.credentials();
        let variables = [
            ("INCYDR_BASE_URL", self.api.url()),
            ("INCYDR_SECRET_ID", SECRET_ID.to_owned()),
            ("S3_BUCKET", self.bucket.clone()),
            ("AWS_LAMBDA_FUNCTION_NAME", "incydr-collector".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", secret_key),
            ("AWS_ENDPOINT_URL_S3", self.s3.endpoint()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.secrets.endpoint()),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The lines of all objects below a prefix, in the order of their keys.
    pub async fn stored_lines(&self, prefix: &str) -> Vec<String> {
        let objects = self.s3.read_ndjson(&self.bucket, prefix).await;
        objects.into_iter().flat_map(|(_, lines)| lines).collect()
    }
}

/// Locks even if another test failed while it held the lock.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
