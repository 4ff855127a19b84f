//! Times the hot loop: `cargo bench --package bench`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../hot_loop/passes.rs"]
mod passes;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use passes::{cut, cut_and_pack, page};

fn hot_loop(criterion: &mut Criterion) {
    let page = page(1_000);
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Bytes(page.len() as u64)).sample_size(20);
    group.bench_function("cut", |bencher| bencher.iter(|| cut(&page)));
    group.bench_function("cut and pack", |bencher| bencher.iter(|| cut_and_pack(&page)));
    group.finish();
}

criterion_group!(benches, hot_loop);
criterion_main!(benches);
