//! All problems of a state, kept by the part of the translation that found them: one part's are exchanged without a
//! look at the others'.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Problem, Problems};
use crate::source::Index;

/// What one part found, sorted.
#[derive(Debug, Default)]
pub(super) struct Found(Box<[Arc<Problem>]>);

impl Found {
    /// Whether it found nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The problems of all parts.
#[derive(Debug, Default)]
pub(super) struct Register {
    all: Problems,
    /// How many parts found a problem, of those that several did: two Ingresses name one bad Secret.
    shared: HashMap<Arc<Problem>, usize>,
}

impl Register {
    /// All of them, each once.
    pub(super) fn all(&self) -> Problems {
        self.all.clone()
    }

    /// Makes `found` what a part found, and fills in where the objects were read from.
    pub(super) fn replace(&mut self, part: &mut Found, found: Vec<Problem>, index: &Index) {
        if found.is_empty() && part.is_empty() {
            return;
        }
        let mut found = found;
        for problem in &mut found {
            problem.origin = problem.object.as_ref().and_then(|object| index.origin(object)).cloned();
        }
        found.sort_unstable();
        found.dedup();
        if found.iter().eq(part.0.iter().map(Arc::as_ref)) {
            return;
        }
        self.retire(std::mem::take(part));
        part.0 = found.into_iter().map(|problem| self.add(problem)).collect();
    }

    /// Removes what a part found that is no more.
    pub(super) fn retire(&mut self, part: Found) {
        for problem in part.0 {
            match self.shared.get_mut(&problem) {
                Some(2) => drop(self.shared.remove(&problem)),
                Some(parts) => *parts -= 1,
                None => _ = self.all.remove(&problem),
            }
        }
    }

    fn add(&mut self, problem: Problem) -> Arc<Problem> {
        let problem = Arc::new(problem);
        if !self.all.insert(Arc::clone(&problem)) {
            *self.shared.entry(Arc::clone(&problem)).or_insert(1) += 1;
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ObjectRef};

    #[test]
    fn a_problem_stays_as_long_as_one_part_finds_it() {
        let (mut register, index) = (Register::default(), Index::default());
        let problem = |message: &str| Problem::error(&ObjectRef::new(Kind::Secret, "a", "b"), "", message);
        let mut parts: [Found; 3] = Default::default();
        for part in &mut parts {
            register.replace(part, vec![problem("x"), problem("x"), problem("y")], &index);
        }
        assert_eq!(register.all().len(), 2);
        let [mut one, two, three] = parts;
        register.replace(&mut one, vec![problem("z")], &index);
        register.retire(two);
        assert_eq!(register.all().len(), 3);
        register.retire(three);
        assert!(register.all().iter().eq([&problem("z")]));
        register.retire(one);
        assert!(register.all().is_empty());
    }
}
