//! The `flinkrelay` program; all of it is in the library, see `flinkrelay::cli`.

use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
// musl's own allocator takes a global lock, which costs several times the rest of a small allocation.
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flinkrelay::cli::main()
}
