//! Amounts of resources, and what a pod asks for. The sums are upstream's
//! `k8s.io/component-helpers/resource`.

use alloc::collections::BTreeMap;

use smol_str::SmolStr;
use timonier_meta::Quantity;
use timonier_object::Value;

/// Amounts, in thousandths of a core and in whole units.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Everything else, such as `nvidia.com/gpu` and huge pages.
    pub others: BTreeMap<SmolStr, i64>,
}

/// What scoring assumes of a container that asks for no processor time.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What scoring assumes of a container that asks for no memory.
const DEFAULT_MEMORY: i64 = 200 << 20;

impl Resources {
    /// Reads a `ResourceList`. What does not parse is nothing, as the API server lets none pass.
    pub fn read(list: &Value) -> Self {
        let mut out = Resources::default();
        for (name, amount) in list.entries() {
            let amount = quantity(amount);
            match name {
                "cpu" => out.milli_cpu = amount.milli_value(),
                "memory" => out.memory = amount.value(),
                "ephemeral-storage" => out.ephemeral_storage = amount.value(),
                "pods" => {}
                _ => {
                    out.others.insert(name.into(), amount.value());
                }
            }
        }
        out
    }

    /// What a pod asks for: the containers together, or the largest init container where that is
    /// more; sidecars run beside both; plus the overhead.
    pub fn of_pod(pod: &Value) -> Self {
        let spec = pod.at("spec");
        let mut sum = effective(spec, Resources::read);
        sum.replace_with(&Resources::read(spec.at("resources.requests")));
        sum.add(&Resources::read(spec.at("overhead")));
        sum
    }

    /// Processor time and memory as scoring sees them: a container that asks for nothing counts
    /// as if it asked for a little.
    pub fn scored(pod: &Value) -> (i64, i64) {
        let spec = pod.at("spec");
        let mut sum = effective(spec, |requests| {
            let mut amounts = Resources::read(requests);
            if requests.at("cpu").is_null() {
                amounts.milli_cpu = DEFAULT_MILLI_CPU;
            }
            if requests.at("memory").is_null() {
                amounts.memory = DEFAULT_MEMORY;
            }
            amounts
        });
        sum.replace_with(&Resources::read(spec.at("resources.requests")));
        sum.add(&Resources::read(spec.at("overhead")));
        (sum.milli_cpu, sum.memory)
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_sub);
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.others.values().all(|v| *v == 0)
    }

    /// The larger one of each amount.
    fn maximum(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    /// Takes over the amounts that a pod sets for itself as a whole.
    fn replace_with(&mut self, whole: &Resources) {
        self.combine(whole, |own, whole| if whole == 0 { own } else { whole });
    }

    fn combine(&mut self, other: &Resources, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }
}

/// The sum over the containers of a pod, given what one container asks for.
fn effective(spec: &Value, read: impl Fn(&Value) -> Resources) -> Resources {
    let of = |container: &Value| read(container.at("resources.requests"));
    let mut sum = Resources::default();
    for container in spec.at("containers").items() {
        sum.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut largest = Resources::default();
    for container in spec.at("initContainers").items() {
        let mut request = of(container);
        if container.at("restartPolicy").str() == "Always" {
            sum.add(&request);
            sidecars.add(&request);
            request = sidecars.clone();
        } else {
            request.add(&sidecars);
        }
        largest.maximum(&request);
    }
    sum.maximum(&largest);
    sum
}

fn quantity(value: &Value) -> Quantity {
    match value.as_i64() {
        Some(n) => Quantity::units(n),
        None => Quantity::parse(value.str()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timonier_object::value;

    fn container(cpu: &str, memory: &str) -> Value {
        value!({ "resources": { "requests": { "cpu": cpu, "memory": memory } } })
    }

    #[test]
    fn init_containers_count_by_the_largest_and_sidecars_throughout() {
        let mut sidecar = container("100m", "10");
        sidecar.set("restartPolicy", "Always");
        let pod = value!({ "spec": {
            "initContainers": [(container("1", "5")), (sidecar), (container("2", "50"))],
            "containers": [(container("500m", "30")), (container("700m", "40"))],
            "overhead": { "cpu": "10m", "example.com/x": "2" },
        } });
        let request = Resources::of_pod(&pod);
        // The second init container runs beside the sidecar: 2.1 cores, more than 1.3.
        assert_eq!((request.milli_cpu, request.memory), (2110, 80));
        assert_eq!(request.others.get("example.com/x"), Some(&2));
    }

    #[test]
    fn the_pods_own_resources_take_the_place_of_the_sum() {
        let pod = value!({ "spec": { "resources": { "requests": { "cpu": "3" } },
            "containers": [(container("1", "5")), (container("1", "5"))] } });
        let request = Resources::of_pod(&pod);
        assert_eq!((request.milli_cpu, request.memory), (3000, 10));
    }

    #[test]
    fn scoring_assumes_something_of_who_asks_for_nothing() {
        let pod = value!({ "spec": { "containers": [{ "name": "a" }, (container("0", "7"))] } });
        assert_eq!(Resources::scored(&pod), (100, (200 << 20) + 7));
        assert!(Resources::of_pod(&value!({ "spec": { "containers": [{}] } })).is_zero());
    }
}
