//! The checked-in Rust of `proto/` is what the generator makes of it today, so that building the
//! relay needs neither protoc nor a build script.
//!
//! After a change of `proto/`, run `UPDATE_PROTO=1 cargo test --test proto` and commit the result.

use std::{error::Error, fs, path::Path};

const GENERATED: &str = "src/remote_write/proto.rs";

#[test]
fn generated_code_is_up_to_date() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = root.join("proto");
    let descriptors = protox::compile([protos.join("remote.proto")], [&protos])?;
    let out = tempfile::tempdir()?;
    prost_build::Config::new().out_dir(out.path()).compile_fds(descriptors)?;

    let fresh = fs::read_to_string(out.path().join("prometheus.rs"))?;
    let checked_in = root.join(GENERATED);
    if std::env::var_os("UPDATE_PROTO").is_some() {
        fs::write(&checked_in, &fresh)?;
    }
    // Not assert_eq: the difference of two whole files helps nobody.
    assert!(
        fs::read_to_string(&checked_in)? == fresh,
        "{GENERATED} differs from proto/; run `UPDATE_PROTO=1 cargo test --test proto`"
    );
    Ok(())
}
