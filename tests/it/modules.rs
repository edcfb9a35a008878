//! The modules import in one direction, which the sources themselves show.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module, from the top of the crate.
type Module = Vec<String>;

/// The modules under `folder` with their texts, without comments and without their own tests.
fn modules(folder: &Path, at: &Module, found: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            modules(&path, &[at.clone(), vec![name]].concat(), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !["main", "tests"].contains(&&*name) {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let text: String = text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
            let is_own = ["mod", "lib"].contains(&&*name);
            found.insert(if is_own { at.clone() } else { [at.clone(), vec![name]].concat() }, text);
        }
    }
}

/// The paths in a tree of imports, such as `crate::{a::B, c}`.
fn paths(tree: &str, before: &[&str], found: &mut Vec<Module>) {
    let mut depth = 0;
    let of_this_level = |character: char| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    };
    for branch in tree.split(of_this_level).map(str::trim).filter(|branch| !branch.is_empty()) {
        let (head, inner) = branch.split_once('{').map_or((branch, None), |(head, inner)| (head, Some(inner)));
        let names = head.split("::").map(|name| name.split_whitespace().next().unwrap_or(""));
        let path: Vec<&str> = before.iter().copied().chain(names.filter(|name| !name.is_empty())).collect();
        match inner {
            Some(inner) => paths(inner.rsplit_once('}').map_or(inner, |(inner, _)| inner), &path, found),
            None => found.push(path.into_iter().map(str::to_owned).collect()),
        }
    }
}

/// The modules of this crate that a module names.
fn named(module: &Module, text: &str, known: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut found = Vec::new();
    for (place, _) in text.match_indices("use ") {
        let line = text[..place].rsplit('\n').next().unwrap().trim();
        if ["", "pub", "pub(super)"].contains(&line) {
            paths(text[place + 4..].split(';').next().unwrap(), &[], &mut found);
        }
    }
    let is_of_path = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    for word in text.split(|character| !is_of_path(character)).filter(|word| word.contains("::")) {
        found.push(word.split("::").map(str::to_owned).collect());
    }
    let absolute = |path: &Module| {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let start = match path[0].as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().saturating_sub(ups)].to_vec(),
            _ => return None,
        };
        let mut full = [start, path[ups.max(1)..].to_vec()].concat();
        while !full.is_empty() && !known.contains_key(&full) {
            full.pop();
        }
        Some(full)
    };
    found.iter().filter_map(absolute).collect()
}

/// The children of `parent` that import each other in a circle.
fn in_circles(parent: &[&str], known: &BTreeMap<Module, String>) -> BTreeMap<String, BTreeSet<String>> {
    let child = |module: &Module| {
        let is_below = module.len() > parent.len() && module.iter().zip(parent).all(|(name, above)| name == above);
        is_below.then(|| module[parent.len()].clone())
    };
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in known {
        let Some(from) = child(module) else { continue };
        let others = named(module, text, known).iter().filter_map(child).filter(|to| *to != from).collect::<Vec<_>>();
        imports.entry(from).or_default().extend(others);
    }
    // Whoever imports nothing that is left is in no circle.
    while let Some(free) = imports.iter().find(|(_, others)| others.is_empty()).map(|(name, _)| name.clone()) {
        imports.remove(&free);
        imports.values_mut().for_each(|others| others.retain(|other| *other != free));
    }
    imports
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut known = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Module::new(), &mut known);
    assert!(known.len() > 100, "{} modules", known.len());
    let parents: [&[&str]; 7] =
        [&[], &["api"], &["api", "calls"], &["http"], &["http", "handlers"], &["http", "json"], &["http", "openapi"]];
    for parent in parents {
        let circles = in_circles(parent, &known);
        assert!(circles.is_empty(), "in {}: {circles:#?}", parent.join("::"));
    }
}

#[test]
fn the_api_knows_no_http() {
    let mut known = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Module::new(), &mut known);
    for (module, text) in known.iter().filter(|(module, _)| module.first().is_some_and(|top| top == "api")) {
        assert!(!text.contains("hyper") && !text.contains("crate::http"), "{}", module.join("::"));
        assert!(named(module, text, &known).iter().all(|other| other.first().is_none_or(|top| top != "http")));
    }
}
