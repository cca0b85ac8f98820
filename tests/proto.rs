//! The checked-in Rust of `proto/` is what the generator makes of it today, so that building the
//! relay needs neither protoc nor a build script.
//!
//! After a change of `proto/`, run `UPDATE_PROTO=1 cargo test --test proto` and commit the result.

use std::{error::Error, fs, path::Path};

/// What the generator calls each package's file, and where it is checked in.
const GENERATED: [(&str, &str); 2] = [
    ("prometheus.rs", "src/remote_write/proto.rs"),
    ("io.prometheus.write.v2.rs", "src/remote_write/proto_v2.rs"),
];

#[test]
fn generated_code_is_up_to_date() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = root.join("proto");
    let files = [protos.join("remote.proto"), protos.join("write_v2.proto")];
    let descriptors = protox::compile(files, [&protos])?;
    let out = tempfile::tempdir()?;
    prost_build::Config::new().out_dir(out.path()).compile_fds(descriptors)?;

    for (generated, checked_in) in GENERATED {
        let fresh = fs::read_to_string(out.path().join(generated))?;
        if std::env::var_os("UPDATE_PROTO").is_some() {
            fs::write(root.join(checked_in), &fresh)?;
        }
        // Not assert_eq: the difference of two whole files helps nobody.
        assert!(
            fs::read_to_string(root.join(checked_in))? == fresh,
            "{checked_in} differs from proto/; run `UPDATE_PROTO=1 cargo test --test proto`"
        );
    }
    Ok(())
}
