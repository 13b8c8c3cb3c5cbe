//! How much is allowed.

/// Limits, and what is left to the operator. Sizes are in bytes, line ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Of a request line. 8 KiB: RFC 9112, section 3, asks for 8000 at least, and most servers have this.
    pub request_line_bytes: usize,
    /// Of all header lines of a head together. 64 KiB: cookies and tokens of single sign-on are known to reach 30.
    pub header_bytes: usize,
    /// How many header lines a head may have. 100, as hyper's and Apache's default.
    pub header_count: usize,
    /// Of a line that announces a chunk, extensions included. 256: nobody uses extensions, but for attacks.
    pub chunk_line_bytes: usize,
    /// Whether spaces may follow a chunk's size, as some old servers write it. No client does.
    pub padded_chunk_sizes: bool,
    /// Of all trailer lines together. 8 KiB: they are checksums and statuses.
    pub trailer_bytes: usize,
    /// How many trailer lines there may be. 32.
    pub trailer_count: usize,
    /// Whether trailers with names that only a header may have pass: for a recipient that leaves them out itself.
    pub any_trailer: bool,
    /// What to do with unusual names.
    pub odd_names: OddNames,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            request_line_bytes: 8 * 1024,
            header_bytes: 64 * 1024,
            header_count: 100,
            chunk_line_bytes: 256,
            padded_chunk_sizes: false,
            trailer_bytes: 8 * 1024,
            trailer_count: 32,
            any_trailer: false,
            odd_names: OddNames::RefuseAliases,
        }
    }
}

/// What to do with a header whose name has other characters than letters, digits and hyphens: `X_Forwarded_For`.
///
/// HTTP allows such names, and some applications rely on them. But CGI and its heirs (WSGI, Rack, PHP) turn a hyphen,
/// an underscore and sometimes any other character into an underscore, so that to them `X_Forwarded_For` is the header
/// `X-Forwarded-For` that the proxy vouches for. Whatever is set here, aliases of `Content-Length` and
/// `Transfer-Encoding` are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OddNames {
    /// All pass, but for the aliases of the two.
    Allow,
    /// Those that stand for a header which the proxy sets or reads are refused; the others hurt nobody.
    #[default]
    RefuseAliases,
    /// All are refused.
    Refuse,
}
