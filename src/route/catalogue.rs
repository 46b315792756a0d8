//! The routes seen so far, each with a number that never changes. Lives on the edge's thread; its truth is in `state`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::{RouteName, Target, TargetKind, map};
use crate::base::{Result, RouteId};
use crate::config::Mapping;
use crate::state::SharedState;

/// A route with what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Number in log records; 0 when the catalogue is full.
    pub id: RouteId,
    /// Its names at the source.
    pub name: RouteName,
    /// Where it goes; `None`: to nobody but the source.
    pub target: Option<Target>,
}

/// All known routes.
#[derive(Debug)]
pub struct Catalogue {
    state: SharedState,
    mapping: Mapping,
    kind: TargetKind,
    routes_max: usize,
    known: RefCell<HashMap<RouteName, Rc<Route>>>,
}

impl Catalogue {
    /// An empty catalogue in front of the store.
    #[must_use]
    pub fn new(state: SharedState, mapping: Mapping, kind: TargetKind, routes_max: usize) -> Self {
        Self { state, mapping, kind, routes_max, known: RefCell::default() }
    }

    /// The route of these names. Its number is durable before this returns, so that a log record may carry it.
    ///
    /// # Errors
    /// The state store failed.
    pub async fn route(&self, name: &RouteName) -> Result<Rc<Route>> {
        if let Some(route) = self.known.borrow().get(name) {
            return Ok(Rc::clone(route));
        }
        let id = self.state.intern_route(&name.key(), self.routes_max).await?;
        let target = map(&self.mapping, name, &self.kind);
        let route = Rc::new(Route { id, name: name.clone(), target });
        let mut known = self.known.borrow_mut();
        // Names come from clients: the table must not grow with what they invent.
        if known.len() < self.routes_max {
            known.insert(name.clone(), Rc::clone(&route));
        }
        Ok(route)
    }
}
