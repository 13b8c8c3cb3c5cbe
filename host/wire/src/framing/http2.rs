//! A request's head that came over HTTP/2.
//!
//! Frames leave no doubt about where a request ends. But the next hop may speak HTTP/1.1, where the same head could be
//! read in two ways: what is refused there is refused here, too. See Kettle, "HTTP/2: The sequel is always worse"
//! (2021).

use super::{
    fields::check_odd,
    head::{Head, METHOD_BYTES},
    host::Authority,
    rules::Rules,
    scan::{plain_run, target_run, token_run},
    target::{Method, Target},
    violation::Violation,
};

/// What a request line has besides the method and the target.
const LINE: usize = "  HTTP/1.1\r\n".len();

/// A request's head, whose names and values hold nothing that HTTP/2 forbids in them.
#[derive(Clone, Copy, Debug)]
pub struct Http2Head<'a> {
    /// `:method`, which is not CONNECT.
    pub method: &'a [u8],
    /// `:path`.
    pub target: &'a [u8],
    /// `:authority`.
    pub authority: Option<&'a [u8]>,
    /// Whether frames with a body follow.
    pub has_body: bool,
}

impl Http2Head<'_> {
    /// Whether it could be written as a head of HTTP/1.1 that passes the same rules. How large all of it may be is up
    /// to whoever unpacks it.
    pub fn check<'h>(
        &self,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        rules: &Rules,
    ) -> Result<(), Violation> {
        if self.method.len() > METHOD_BYTES {
            return Err(Violation::MethodTooLong);
        }
        let method = Method::parse(self.method)?;
        if self.method.len() + self.target.len() + LINE > rules.request_line_bytes {
            return Err(Violation::RequestLineTooLong);
        }
        if target_run(self.target) < self.target.len() {
            return Err(Violation::BadTarget);
        }
        if Target::parse(self.target, method)? != Target::Local {
            return Err(Violation::TargetForm);
        }
        if self.authority.is_some_and(|authority| Authority::parse(authority).is_none()) {
            return Err(Violation::BadAuthority);
        }
        if self.has_body && !method.may_have_body() {
            return Err(Violation::BodyNotAllowed);
        }
        let (mut said, mut count) = (Head::default(), 0);
        for (name, value) in headers {
            // Cookies come in as many pieces as the client likes, and become one line.
            count += usize::from(name != b"cookie");
            if count > rules.header_count {
                return Err(Violation::TooManyHeaders);
            }
            if plain_run(name) < name.len() {
                // `http` lets quotation marks pass.
                if token_run(name) < name.len() {
                    return Err(Violation::BadName);
                }
                check_odd(name, rules.odd_names)?;
            }
            if value.trim_ascii().len() < value.len() {
                return Err(Violation::PaddedValue);
            }
            said.take(self.target, name, value)?;
        }
        Ok(())
    }
}
