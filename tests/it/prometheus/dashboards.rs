//! The dashboards of Grafana as they are shipped: laid out well, and with questions that somebody can answer.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::shipped;

const DASHBOARDS: [&str; 5] = ["overview", "sale", "saga", "stores", "events"];

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// A question of a panel.
pub struct Query {
    /// Where it stands, for people.
    pub panel: String,
    pub expression: String,
}

fn dashboard(name: &str) -> Value {
    let file = shipped("deploy/grafana/dashboards").join(format!("{name}.json"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is a list: {value}"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| panic!("{name} is missing: {value}"))
}

/// Every question of every dashboard, over so long where Grafana chooses.
pub fn queries(rate_interval: &str) -> Vec<Query> {
    let mut queries = Vec::new();
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        for panel in list(&dashboard, "panels").iter().filter(|panel| panel["type"] != "row") {
            for target in list(panel, "targets") {
                let expression = text(target, "expr").replace("$__rate_interval", rate_interval);
                queries.push(Query { panel: format!("{name}: {}", text(panel, "title")), expression });
            }
        }
    }
    queries
}

#[test]
fn all_of_them_are_provisioned_under_names_of_their_own() {
    let folder = fs::read_dir(shipped("deploy/grafana/dashboards")).expect("the folder of dashboards");
    let files: BTreeSet<_> = folder.map(|file| file.expect("an entry").file_name()).collect();
    assert_eq!(files, DASHBOARDS.iter().map(|name| format!("{name}.json").into()).collect());
    let mut titles = BTreeSet::new();
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert_eq!(text(&dashboard, "uid"), format!("holdfast-{name}"));
        assert!(titles.insert(text(&dashboard, "title").to_owned()), "{name} has the title of another");
        let variables = list(&dashboard["templating"], "list");
        assert!(
            variables
                .iter()
                .any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"),
            "{name} lets nobody choose where its figures come from"
        );
    }
}

#[test]
fn panels_say_what_they_show_and_in_which_unit() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in list(&dashboard, "panels") {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64()), "{name}: {title} has the id of another");
            assert!(titles.insert(title.to_owned()), "{name}: two panels are called {title}");
            if panel["type"] == "row" {
                continue;
            }
            text(panel, "description");
            text(&panel["fieldConfig"]["defaults"], "unit");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            let mut letters = BTreeSet::new();
            for target in list(panel, "targets") {
                text(target, "legendFormat");
                assert!(letters.insert(text(target, "refId")), "{name}: {title} asks twice under one letter");
            }
        }
    }
}

#[test]
fn panels_lie_beside_each_other_and_leave_no_hole() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard, "panels") {
            let [x, y, w, h] = ["x", "y", "w", "h"]
                .map(|side| panel["gridPos"][side].as_u64().expect("a place in the grid"));
            assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{name}: {} sticks out", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (y, x))) {
                assert!(taken.insert(cell), "{name}: {} lies on another panel", panel["title"]);
            }
        }
        // Only the last row may be short.
        let last = taken.last().expect("panels").0;
        let rows: BTreeSet<_> = taken.iter().map(|(y, _)| *y).collect();
        assert_eq!(rows.len() as u64, last + 1, "{name} has an empty row");
    }
}
