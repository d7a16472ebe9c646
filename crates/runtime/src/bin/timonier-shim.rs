//! The shim as a program of its own, for the integration tests. A cluster uses the `timonier`
//! binary instead.

fn main() {
    let code = timonier_runtime::reexec_main(std::env::args_os());
    std::process::exit(code.unwrap_or(64));
}
