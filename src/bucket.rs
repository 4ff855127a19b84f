//! S3: what is created is never changed, and the checkpoint is replaced only by who read it last.
//!
//! * [`s3`]: one bucket; [`store`]: each operation, tried once; [`buckets`]: the two that the settings name; [`aws`]: the clients
//! * [`records`]: records under their keys; [`health_records`]: those of the collector itself
//! * [`ledger`]: the checkpoint, as one run holds it
//! * [`chain`]: the manifests, each of which names the one before it; [`followers`]: those that the checkpoint doesn't name
//! * [`known`]: what is known of a stream's records

pub mod aws;
pub mod buckets;
pub mod chain;
pub mod followers;
pub mod health_records;
pub mod known;
pub mod ledger;
pub mod records;
pub mod s3;
pub mod store;
