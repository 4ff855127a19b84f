//! The cost of the hot loop, counted and not timed: allocations, and instructions under callgrind. Every byte of every
//! record passes through it: it is cut out of its page, checked, compared, hashed and compressed.
//!
//! `cargo test --test hot_loop`. Without valgrind the instructions are not counted, and the test says so.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod passes;

use std::path::Path;
use std::process::Command;

use passes::{cut, cut_and_pack, page};

/// Instructions per byte of a page, measured with rustc 1.95 on x86-64 with AVX2 in a debug build; below, the
/// tolerance.
const CUT: f64 = 38.0;
const CUT_AND_PACK: f64 = 122.6;
const TOLERANCE: f64 = 0.15;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--count", what, records] => {
            let page = page(records.parse().unwrap());
            match what {
                "nothing" => {}
                "cut" => assert!(cut(&page) > 0),
                _ => assert!(cut_and_pack(&page) > 0),
            }
        }
        ["--list", ..] => {}
        _ => {
            allocations_do_not_grow_with_the_records();
            instructions_for_a_byte_are_what_they_were();
        }
    }
}

/// Only the buffers that hold the records grow, by doubling.
fn allocations_do_not_grow_with_the_records() {
    let (few, many) = (page(500), page(2_000));
    let count = |page: &[u8]| allocation_counter::measure(|| assert!(cut_and_pack(page) > 0)).count_total;
    let (of_few, of_many) = (count(&few), count(&many));
    println!("allocations: {of_few} for 500 records, {of_many} for 2,000");
    assert!(of_many <= of_few + 10, "{of_few} allocations for 500 records, {of_many} for 2,000");
}

fn instructions_for_a_byte_are_what_they_were() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions: not counted, for valgrind is not installed");
        return;
    }
    if !is_measured_here() {
        println!("instructions: not counted, for they were measured on x86-64 with AVX2");
        return;
    }
    for (what, expected) in [("cut", CUT), ("cut-and-pack", CUT_AND_PACK)] {
        let per_byte = instructions_per_byte(what);
        println!("instructions: {per_byte:.2} for a byte to {what}; they were {expected:.2}");
        let ratio = per_byte / expected;
        assert!(
            (ratio - 1.0).abs() <= TOLERANCE,
            "{ratio:.2} times as many as they were: if that is as it should be, note {per_byte:.2} in tests/hot_loop/main.rs"
        );
    }
}

fn is_measured_here() -> bool {
    cfg!(target_arch = "x86_64") && std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|cpu| cpu.contains(" avx2 "))
}

/// The difference between two runs with different numbers of records, without the instructions that generate their
/// pages.
#[allow(clippy::cast_precision_loss)]
fn instructions_per_byte(what: &str) -> f64 {
    let (few, many) = (100, 400);
    let of = |what: &str, records: usize| instructions(what, records) - instructions("nothing", records);
    let bytes = page(many).len() - page(few).len();
    (of(what, many) - of(what, few)) as f64 / bytes as f64
}

fn instructions(what: &str, records: usize) -> i64 {
    let counted = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind-{what}-{records}"));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", counted.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--count", what, &records.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "valgrind ended with {status}");
    let told = std::fs::read_to_string(counted).unwrap();
    let total = told.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    total.unwrap().trim().parse().unwrap()
}
