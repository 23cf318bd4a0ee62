//! Annotations of ingress-nginx, by the end of their names.

/// Who reads them, and who is told of those that cannot be read, with what they should be.
pub(super) struct Parsed<'p, R, W> {
    pub(super) read: &'p R,
    pub(super) wrong: &'p mut W,
}

impl<'a, R, W> Parsed<'_, R, W>
where
    R: Fn(&'static str) -> Option<&'a str>,
    W: FnMut(&'static str, &str),
{
    /// What one says; nothing if it is not there, or cannot be read.
    pub(super) fn of<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
        wanted: &str,
    ) -> Option<T> {
        let parsed = parse((self.read)(name)?);
        if parsed.is_none() {
            (self.wrong)(name, wanted);
        }
        parsed
    }
}
