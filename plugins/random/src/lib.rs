//! Random: each endpoint as often as its weight says.
//!
//! It looks at nothing and remembers nothing, so that any number of workers and proxies spread load together as
//! well as one would. A pick takes the same short time however many endpoints there are (the alias method: see
//! [`WeightedTable`]).

use sluicegate_sdk::{
    ConfigError, Endpoint, Endpoints, NoConfig, Pick, Policy, Request, Rng, Setup, WeightedTable, export,
};

/// The policy.
#[derive(Clone, Debug)]
pub struct Random {
    rng: Rng,
    table: WeightedTable,
}

impl Policy for Random {
    type Config = NoConfig;

    fn new(_: NoConfig, setup: Setup) -> Result<Self, ConfigError> {
        Ok(Self { rng: Rng::new(setup.seed), table: WeightedTable::default() })
    }

    fn endpoints_changed(&mut self, endpoints: &Endpoints, _now: u64) {
        self.table = endpoints.iter().map(|endpoint| endpoint.weight()).collect();
    }

    fn pick(&mut self, request: &Request, endpoints: &Endpoints) -> Pick {
        if request.attempt() == 0 {
            return self.table.choose(&mut self.rng).into();
        }
        // The table knows all endpoints; a retry wants what is left of them, and is rare enough to look at each.
        self.rng.choose_weighted(endpoints.candidates(), Endpoint::weight).into()
    }
}

export!(Random);

#[cfg(test)]
mod tests;
