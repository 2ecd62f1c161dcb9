//! Ports of this host's addresses that are taken for our stack: shared by who follows the host and
//! who changes what is wanted of paths.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anabranch_kernel::{Attach, Bound, Result};
use anabranch_paths::{Endpoint, Plan};

/// All that a program has taken; clones are the same.
#[derive(Clone)]
pub(crate) struct Ports(Arc<Mutex<Vec<Attach>>>);

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

impl Ports {
    pub(crate) fn new(taken: Vec<Attach>) -> Ports {
        Ports(Arc::new(Mutex::new(taken)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attach>> {
        // What the kernel has is read anew by whoever comes next.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a change of addresses, interfaces or routes.
    pub(crate) fn refresh(&self) {
        for attach in self.lock().iter_mut() {
            if let Err(error) = attach.refresh() {
                tracing::warn!("cannot follow a change of addresses or routes: {error}");
            }
        }
    }

    /// Has addresses leave by the interfaces that the endpoints of a plan name.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn bind(&self, plan: &Plan) -> Result<()> {
        let bound = bound(plan);
        let mut taken = self.lock();
        taken
            .iter_mut()
            .try_for_each(|attach| attach.bind(bound.clone()))
    }

    /// Gives everything back.
    ///
    /// # Errors
    /// The first of the kernel's refusals.
    pub(crate) fn remove(self) -> Result<()> {
        let taken = std::mem::take(&mut *self.lock());
        let outcomes: Vec<_> = taken.into_iter().map(Attach::remove).collect();
        outcomes.into_iter().collect()
    }
}

/// The endpoints of a plan that name an interface.
pub(crate) fn bound_endpoints(plan: &Plan) -> impl Iterator<Item = &Endpoint> {
    let selected = plan.selections.iter().map(|selection| &selection.policy);
    let all = std::iter::once(&plan.policy).chain(selected);
    all.flat_map(|policy| &policy.endpoints)
        .filter(|endpoint| endpoint.is_bound())
}

fn bound(plan: &Plan) -> Vec<Bound> {
    let named = bound_endpoints(plan).filter_map(|endpoint| {
        Some(Bound {
            address: endpoint.addr,
            link: endpoint.dev.clone()?,
        })
    });
    let mut bound: Vec<Bound> = named.collect();
    bound.sort();
    bound.dedup();
    bound
}
