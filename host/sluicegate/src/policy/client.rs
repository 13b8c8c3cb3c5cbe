//! A client of the admin API: finds it, and puts its errors into words.

use std::{
    env, fs,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sluicegate_control::config;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime::Builder,
};

use crate::{admin_listener, cli};

/// Longer than a proxy may take to compile a policy.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Where the token is looked for, if nobody says.
const TOKEN_VARIABLE: &str = "SLUICEGATE_ADMIN_TOKEN";

/// Where the API is.
#[derive(Debug, PartialEq)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

pub(crate) struct Client {
    place: Place,
    /// As the user would call it.
    name: String,
    token: Option<String>,
}

impl Client {
    /// Finds out where to ask, and with which token.
    pub(crate) fn find(at: &cli::At) -> Result<Self> {
        let configured = match &at.config {
            Some(path) => {
                let builtins: Vec<&str> = sluicegate_builtins::names().collect();
                let config = config::load(path, &builtins).map_err(|errors| anyhow!("{errors}"))?;
                let admin = config.admin.with_context(|| {
                    format!("{} has no [admin] section: add one, and start the proxy anew", path.display())
                })?;
                Some(admin)
            }
            None => None,
        };
        let (place, name) = match (&at.admin, &configured) {
            (Some(text), _) => (place(text)?, text.clone()),
            (None, Some(admin)) => match (&admin.socket, admin.address) {
                (Some(socket), _) => (Place::Unix(socket.clone()), socket.display().to_string()),
                (None, Some(address)) => (Place::Tcp(address), address.to_string()),
                (None, None) => bail!("the [admin] section has neither an address nor a socket"),
            },
            (None, None) => {
                let address = SocketAddr::from(([127, 0, 0, 1], 8081));
                (Place::Tcp(address), format!("{address} (the default: --admin or --config say where else)"))
            }
        };
        let token = match (&at.token_file, configured.and_then(|admin| admin.token)) {
            (Some(path), _) => {
                let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
                Some(text.trim().to_owned())
            }
            (None, Some(source)) => Some(admin_listener::token(&source)?),
            (None, None) => env::var(TOKEN_VARIABLE).ok(),
        };
        Ok(Self { place, name, token })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, Bytes::new())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::POST, path, body.to_string().into())
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value> {
        let answer = Builder::new_current_thread().enable_all().build()?.block_on(async {
            let asked = async {
                match &self.place {
                    Place::Tcp(address) => self.send(TcpStream::connect(address).await, method, path, body).await,
                    Place::Unix(socket) => self.send(UnixStream::connect(socket).await, method, path, body).await,
                }
            };
            tokio::time::timeout(TIMEOUT, asked).await
        });
        let (status, body) = answer.with_context(|| format!("{} does not answer within {TIMEOUT:?}", self.name))??;
        let value: Value = serde_json::from_slice(&body).with_context(|| {
            format!("{} does not answer like Sluicegate's admin listener (status {status})", self.name)
        })?;
        if status == StatusCode::OK {
            return Ok(value);
        }
        let error = &value["error"];
        let (code, message) = (error["code"].as_str().unwrap_or("?"), error["message"].as_str().unwrap_or("?"));
        let hint = match (code, &self.token) {
            ("token", None) => "\nname it: --token-file FILE, --config FILE, or the variable SLUICEGATE_ADMIN_TOKEN",
            ("token", Some(_)) => "\nthe token that was sent is another one",
            _ => "",
        };
        bail!("{code}: {message}{hint}")
    }

    async fn send<S>(
        &self,
        stream: std::io::Result<S>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = stream.with_context(|| {
            format!("can't connect to {}: does the proxy run there, with an [admin] section?", self.name)
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let host = match &self.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(_) => "localhost".into(),
        };
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        request = request.header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).context("the token is not visible ASCII characters")?;
        let response = sender.send_request(request).await.with_context(|| format!("{} hung up", self.name))?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// `unix:PATH`, a path, `http://HOST:PORT` or `HOST:PORT`.
fn place(text: &str) -> Result<Place> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Place::Unix(path.into()));
    }
    if text.starts_with(['/', '.']) {
        return Ok(Place::Unix(text.into()));
    }
    if text.starts_with("https://") {
        bail!("--admin {text}: the admin listener speaks plain HTTP; put a tunnel in front, such as ssh's");
    }
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let mut found =
        address.to_socket_addrs().with_context(|| format!("--admin {text}: write unix:PATH, or http://HOST:PORT"))?;
    found.next().map(Place::Tcp).with_context(|| format!("--admin {text}: the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let tcp = |text: &str| Place::Tcp(text.parse().unwrap());
        assert_eq!(place("127.0.0.1:8081").unwrap(), tcp("127.0.0.1:8081"));
        assert_eq!(place("http://[::1]:81/").unwrap(), tcp("[::1]:81"));
        assert_eq!(place("unix:run/admin.sock").unwrap(), Place::Unix("run/admin.sock".into()));
        assert_eq!(place("/run/admin.sock").unwrap(), Place::Unix("/run/admin.sock".into()));
        for wrong in ["https://127.0.0.1:1", "127.0.0.1", ""] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
