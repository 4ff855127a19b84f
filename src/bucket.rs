//! Access to S3. Objects are created and never changed; only the checkpoint is replaced, by the run that read it last.
//!
//! * [`s3`]: one bucket, with retries; [`store`]: each operation, tried once; [`buckets`]: the records' and the state's
//!   bucket;
//!   [`aws`]: the clients
//! * [`records`]: the streams' records; [`health_records`]: the collector's own
//! * [`ledger`]: the checkpoint, as one run holds it
//! * [`chain`]: writes the manifests; [`manifests`]: reads them
//! * [`known`]: the hashes of a stream's known records

pub mod aws;
pub mod buckets;
pub mod chain;
pub mod health_records;
pub mod known;
pub mod ledger;
pub mod manifests;
pub mod records;
pub mod s3;
pub mod store;
