//! The real PgBouncer, to compare with.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running PgBouncer without any server behind it; ends when dropped.
pub struct PgBouncer {
    process: Child,
    pub port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    pub async fn start() -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: install Debian's package pgbouncer"
        );
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let users = directory.path().join("users.txt");
        let config = directory.path().join("pgbouncer.ini");
        std::fs::write(&users, "\"adm\" \"\"\n\"stat\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\nshop = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             admin_users = adm\nstats_users = stat\n",
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(PROGRAM);
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            use std::os::unix::fs::PermissionsExt;
            use std::os::unix::process::CommandExt;
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(directory.path(), open).unwrap();
            command.uid(65534).gid(65534);
        }
        let process = command
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bouncer = Self {
            process,
            port,
            _directory: directory,
        };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                return bouncer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("pgbouncer did not start on port {port}");
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
