//! A map of modules that can change at run time and is itself a Burn module.

use std::collections::BTreeMap;

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor};
use burn::tensor::Device;

use crate::ModuleKey;

/// An ordered map from keys to modules that is a module itself: trained, saved, loaded and counted like any other.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn_adapters_core::{NameMap};
///
/// let device = burn::tensor::Device::default();
/// let mut map: NameMap<Linear> = NameMap::default();
/// map.insert("a".into(), LinearConfig::new(3, 2).init(&device));
/// assert_eq!(Module::num_params(&map), 8);
/// ```
#[derive(Clone, Debug)]
pub struct ModuleMap<K, M>(BTreeMap<K, M>);

impl<K: Ord, M> Default for ModuleMap<K, M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, M> ModuleMap<K, M> {
    /// The module under this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&M>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key)
    }

    /// The module under this key, with the key as the map stores it.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &M)>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get_key_value(key)
    }

    /// The module under this key, mutable.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut M>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get_mut(key)
    }

    /// Whether the key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Adds a module; returns the one that it replaces.
    pub fn insert(&mut self, key: K, module: M) -> Option<M> {
        self.0.insert(key, module)
    }

    /// Removes a module.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<M>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.remove(key)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// The modules, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &M> {
        self.0.values()
    }

    /// Keys and modules, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &M)> {
        self.0.iter()
    }

    /// Keys and mutable modules, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut M)> {
        self.0.iter_mut()
    }

    /// The number of modules.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord, M> FromIterator<(K, M)> for ModuleMap<K, M> {
    fn from_iter<I: IntoIterator<Item = (K, M)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl<K: Ord, M> IntoIterator for ModuleMap<K, M> {
    type Item = (K, M);
    type IntoIter = std::collections::btree_map::IntoIter<K, M>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: ModuleKey, M: Module> Module for ModuleMap<K, M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.values().fold(devices, |devices, module| module.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.into_iter().map(|(key, module)| (key, module.fork(device))).collect()
    }

    fn to_device(self, device: &Device) -> Self {
        self.into_iter().map(|(key, module)| (key, module.to_device(device))).collect()
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (key, module) in &self.0 {
            let name = key.path_name();
            visitor.enter_module(&name, "Map");
            module.visit(visitor);
            visitor.exit_module(&name, "Map");
        }
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        let mut mapped = Self::default();
        for (key, module) in self {
            let name = key.path_name();
            mapper.enter_module(&name, "Map");
            let module = module.map(mapper);
            mapper.exit_module(&name, "Map");
            mapped.insert(key, module);
        }
        mapped
    }

    fn train(self) -> Self {
        self.into_iter().map(|(key, module)| (key, module.train())).collect()
    }

    fn valid(&self) -> Self {
        self.iter().map(|(key, module)| (key.clone(), module.valid())).collect()
    }

    fn materialize(self) -> Self {
        self.into_iter().map(|(key, module)| (key, module.materialize())).collect()
    }
}

impl<K: ModuleKey, M: ModuleDisplay> ModuleDisplayDefault for ModuleMap<K, M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.iter()
            .fold(content, |content, (key, module)| content.add(&key.path_name(), module))
            .set_top_level_type("ModuleMap")
            .optional()
    }
}

impl<K: ModuleKey, M: ModuleDisplay> ModuleDisplay for ModuleMap<K, M> {}
