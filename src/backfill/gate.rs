//! What keeps delivery away from a region while a chunk of it is copied.
//!
//! Promise: from the answer to [`Gate::hold`] on nothing newer of the region goes to the destination until [`Hold::release`]; where no
//! twinline stands in front nobody has to be kept away, and nothing is.

use crate::base::Result;
use crate::db::read::Window;
use crate::delivery::{self, Held, Parked, Region, Regions};
use crate::route::RouteName;

/// Who is kept away.
#[derive(Clone, Debug)]
pub enum Gate {
    /// No proxy stands in front: there is nobody to hold back.
    Offline,
    /// Delivery to the destination.
    Live(Regions),
}

/// A region that is held; when it is let go of, delivery goes on with it. So nobody lets go of one while a request of ours may take effect.
#[derive(Debug)]
pub struct Hold(Option<Held>);

/// Looks at what waits for a region.
#[derive(Clone, Debug)]
pub struct Watch(Option<delivery::Watch>);

impl Gate {
    /// Whether it holds anything: else nothing need wait for a release.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// From now on nothing newer of the region goes to the destination.
    ///
    /// # Errors
    /// As [`Regions::hold`].
    pub async fn hold(&self, region: Region) -> Result<Hold> {
        match self {
            Self::Offline => Ok(Hold::NOBODY),
            Self::Live(regions) => regions.hold(region).await.map(|held| Hold(Some(held))),
        }
    }
}

impl Hold {
    /// There is nobody to hold back.
    pub const NOBODY: Self = Self(None);

    /// Everything older of it has its end on both sides.
    ///
    /// # Errors
    /// As [`Held::drained`].
    pub async fn drained(&mut self) -> Result<()> {
        match &mut self.0 {
            None => Ok(()),
            Some(held) => held.drained().await,
        }
    }

    /// For who looks at it meanwhile.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.0.as_ref().map(Held::watch))
    }

    /// What was held back goes on, in order.
    pub async fn release(mut self) {
        if let Some(held) = self.0.take() {
            held.release().await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.end();
        }
    }
}

impl Watch {
    /// What waits for the release; nothing where there is nobody.
    #[must_use]
    pub fn parked(&self) -> Parked {
        self.0.as_ref().map_or_else(Parked::default, delivery::Watch::parked)
    }
}

/// A window of a measurement as delivery knows it: by both of its ends.
#[must_use]
pub fn region(route: &RouteName, measurement: &[u8], window: Window) -> Region {
    // The end of all time belongs to it; any other end is the first time behind it.
    let to_ns = if window.end_ns == i64::MAX { i64::MAX } else { window.end_ns.saturating_sub(1) };
    Region { route: route.clone(), measurement: measurement.to_vec(), from_ns: window.start_ns, to_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_both_of_its_ends() {
        let route = RouteName::Database { db: "d".to_owned(), rp: String::new() };
        let of = |start_ns, end_ns| {
            let region = region(&route, b"m", Window { start_ns, end_ns });
            (region.from_ns, region.to_ns)
        };
        assert_eq!(of(0, 10), (0, 9));
        assert_eq!(of(-5, i64::MAX), (-5, i64::MAX));
        assert_eq!(of(Window::ALL.start_ns, Window::ALL.end_ns).0, Window::ALL.start_ns);
    }
}
