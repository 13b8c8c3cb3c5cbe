//! Programs that we did not write.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use crate::eventually;

/// Whether a program is there. A test that needs one that is not is skipped, and says so; where
/// `SLUICEGATE_PEERS=required`, as in CI, it fails.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("SLUICEGATE_PEERS").is_none(), "{program} is not installed");
    eprintln!("skipped: {program} is not installed");
    false
}

/// The same for a module of Python's.
pub fn has_module(module: &str) -> bool {
    let mut import = Command::new("python3");
    // Elsewhere: a folder here may be called as the module is, and would be taken for it.
    import.args(["-c", &format!("import {module}")]).current_dir("/").stderr(Stdio::null());
    let import = import.status();
    if import.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("SLUICEGATE_PEERS").is_none(), "python3 has no module {module}");
    eprintln!("skipped: python3 has no module {module}");
    false
}

/// The same for what an example is built with: `script` knows whether it is there.
pub fn has_toolchain(script: &Path, name: &str) -> bool {
    if Command::new(script).args(["--installed", name]).status().unwrap().success() {
        return true;
    }
    let script = script.display();
    assert!(std::env::var_os("SLUICEGATE_PEERS").is_none(), "{name} is not installed: {script} {name}");
    eprintln!("skipped: {name} is not installed, which `{script} {name}` does");
    false
}

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs a program that has to succeed: what it prints.
pub fn text(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running NGINX.
pub struct Nginx {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts one with a single server. `listen` are the words after the address in its directive, `server` the rest
    /// of the block. Its files are in `dir`, and paths in `server` are relative to that.
    pub fn start(dir: &Path, listen: &str, server: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = dir.join(format!("nginx-{}.conf", address.port()));
        let text = format!(
            "daemon off; master_process off; pid {0}/nginx-{1}.pid; error_log {0}/nginx-{1}.log;\n\
             events {{ }}\nhttp {{ access_log off; client_body_temp_path {0}; proxy_temp_path {0}; \
             fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
             server {{ listen {address} {listen};\n{server} }} }}",
            dir.display(),
            address.port()
        );
        fs::write(&file, text).unwrap();
        let child = Command::new("nginx").arg("-p").arg(dir).arg("-c").arg(&file).spawn().unwrap();
        eventually("nginx listens", || TcpStream::connect(address).ok());
        Self { child, address }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in Python.
pub struct Python {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Python {
    /// Starts a program that prints the port that it listens on, at 127.0.0.1.
    pub fn serve(program: &str) -> Self {
        let mut child = Command::new("python3").args(["-c", program]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("a port");
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
