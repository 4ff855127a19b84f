//! The collector only reads: its binary contains no request that changes anything.

use std::path::Path;

/// Parts of paths that only writes have.
const WRITES: [&str; 5] =
    ["/add-note", "/v1/sessions/change-state", "/v1/agents/deactivate", "/v1/agents/activate", "noteContent"];

#[test]
fn the_collector_s_binary_holds_no_path_that_writes_and_the_responder_s_holds_them_all() {
    let held = |binary: &str| {
        let bytes = std::fs::read(Path::new(binary)).unwrap();
        let holds = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
        WRITES.iter().filter(|part| holds(part)).copied().collect::<Vec<_>>()
    };
    assert_eq!(held(env!("CARGO_BIN_EXE_responder")), WRITES);
    assert_eq!(held(env!("CARGO_BIN_EXE_incydr-collector")), Vec::<&str>::new());
}
