//! Finds entries by name.

/// The positions of entries in the order of their names: eight bytes an entry, where a map would keep a second copy of
/// each name.
#[derive(Debug)]
pub(super) struct Index(Vec<usize>);

impl Index {
    /// Orders `count` entries. If two have the same name, the error is the position of the later one.
    pub(super) fn new<'a>(count: usize, name: impl Fn(usize) -> &'a str) -> Result<Index, usize> {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_unstable_by(|&a, &b| name(a).cmp(name(b)).then(a.cmp(&b)));
        match order.array_windows().find(|&&[a, b]| name(a) == name(b)) {
            Some(&[_, later]) => Err(later),
            None => Ok(Index(order)),
        }
    }

    /// The position of the entry called `wanted`; `name` as in [`Index::new`].
    pub(super) fn find<'a>(&self, wanted: &str, name: impl Fn(usize) -> &'a str) -> Option<usize> {
        self.0.binary_search_by(|&i| name(i).cmp(wanted)).ok().map(|at| self.0[at])
    }
}
