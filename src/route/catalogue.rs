//! The routes of which the source has kept something, each with a number that never changes. Lives on the edge's thread; its
//! truth is in `state`.
//!
//! Promises: no write waits for a number. Names come from clients: one gets a number only when the source may have kept
//! something under it, so that what they invent uses up none. Before that, and where no number is left, records carry 0;
//! each of them carries the name as well, and sums go by name.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{RouteName, TargetKind, map};
use crate::base::RouteId;
use crate::config::Mapping;
use crate::state::SharedState;

/// Routes that ask the state store for a number at the same time; others ask with a later write.
const ASKING_MAX: usize = 64;
/// A state store that fails is not asked again before this.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A route with what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Number in log records; 0 where it has none, or none yet.
    pub id: RouteId,
    /// Its names at the source.
    pub name: RouteName,
    /// Whether no destination gets it: it stays at the source alone.
    pub is_excluded: bool,
}

/// All known routes.
#[derive(Debug)]
pub struct Catalogue(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    state: SharedState,
    /// Of each destination, and what names it has.
    mappings: Vec<(Mapping, TargetKind)>,
    routes_max: usize,
    /// Those that have asked for a number: 0 where the store had none left.
    known: RefCell<HashMap<RouteName, Rc<Route>>>,
    asking: RefCell<HashSet<RouteName>>,
    /// When the store failed last.
    failed: Cell<Option<Instant>>,
}

impl Catalogue {
    /// An empty catalogue in front of the store.
    #[must_use]
    pub fn new(state: SharedState, mappings: Vec<(Mapping, TargetKind)>, routes_max: usize) -> Self {
        let (known, asking, failed) = (RefCell::default(), RefCell::default(), Cell::default());
        Self(Rc::new(Inner { state, mappings, routes_max, known, asking, failed }))
    }

    /// The route of these names. A number of it is durable.
    #[must_use]
    pub fn route(&self, name: &RouteName) -> Rc<Route> {
        let known = self.0.known.borrow().get(name).map(Rc::clone);
        known.unwrap_or_else(|| self.0.route(name, RouteId(0)))
    }

    /// The source has kept something of this route, or may have: it gets its number, if one is left. Nobody waits for it.
    pub fn keep(&self, name: &RouteName) {
        if !self.0.may_ask(name) {
            return;
        }
        self.0.asking.borrow_mut().insert(name.clone());
        let (inner, name) = (Rc::clone(&self.0), name.clone());
        tokio::task::spawn_local(async move {
            let noted = inner.state.intern_route(&name.key(), inner.routes_max).await;
            inner.asking.borrow_mut().remove(&name);
            match noted {
                Ok(id) => {
                    let route = inner.route(&name, id);
                    inner.known.borrow_mut().insert(name, route);
                }
                Err(error) => {
                    tracing::warn!(%error, event = "route.unnoted", "a route gets its number later");
                    inner.failed.set(Some(Instant::now()));
                }
            }
        });
    }
}

impl Inner {
    fn route(&self, name: &RouteName, id: RouteId) -> Rc<Route> {
        let is_excluded = self.mappings.iter().all(|(mapping, kind)| map(mapping, name, kind).is_none());
        Rc::new(Route { id, name: name.clone(), is_excluded })
    }

    fn may_ask(&self, name: &RouteName) -> bool {
        let (known, asking) = (self.known.borrow(), self.asking.borrow());
        !known.contains_key(name)
            && !asking.contains(name)
            && asking.len() < ASKING_MAX
            && known.len() + asking.len() < self.routes_max
            && self.failed.get().is_none_or(|at| at.elapsed() >= RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::SqliteState;

    fn name(db: &str) -> RouteName {
        RouteName::Database { db: db.to_owned(), rp: String::new() }
    }

    async fn keep(catalogue: &Catalogue, db: &str) -> RouteId {
        catalogue.keep(&name(db));
        while !catalogue.0.asking.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        catalogue.route(&name(db)).id
    }

    #[test]
    fn only_a_route_of_which_the_source_has_kept_something_gets_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let state: SharedState = Arc::new(SqliteState::open(&directory.path().join("state.db")).unwrap());
        let text = "listen = \"127.0.0.1:0\"\n[source]\nurl = \"http://x:1\"\n[destination]\nurl = \"http://y:1\"";
        let mapping = crate::config::parse(text, &|_| None).unwrap().config.mapping;
        let catalogue =
            |routes_max| Catalogue::new(Arc::clone(&state), vec![(mapping.clone(), TargetKind::Database)], routes_max);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let first = catalogue(2);
            for invented in 0..10 {
                assert_eq!(first.route(&name(&format!("invented{invented}"))).id, RouteId(0));
            }
            assert!(first.0.known.borrow().is_empty() && state.routes().await.unwrap().is_empty());
            let (a, b) = (keep(&first, "a").await, keep(&first, "b").await);
            assert!(a != RouteId(0) && b != RouteId(0) && a != b);
            // None is left.
            assert_eq!(keep(&first, "c").await, RouteId(0));
            assert_eq!((keep(&first, "a").await, first.0.known.borrow().len()), (a, 2));
            // After a restart it is the same, once it is written to.
            let again = catalogue(2);
            assert_eq!((again.route(&name("a")).id, keep(&again, "a").await), (RouteId(0), a));
            assert_eq!((keep(&again, "c").await, keep(&again, "c").await), (RouteId(0), RouteId(0)));
        });
    }
}
