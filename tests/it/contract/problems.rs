//! The pages that the `type` of a problem leads to: for every problem of the contract, for people and for programs.

use serde_json::json;

use crate::served::{Ask, Service, problems, shapes};

#[test]
fn every_problem_has_its_page() {
    let service = Service::start();
    let mut client = service.client();
    for (code, status, _) in problems::TABLE {
        let path = problems::path(code);
        let document = client.get(&path).success(200);
        assert_eq!(shapes::members(&document), ["code", "meaning", "remedy", "status", "title", "type"]);
        assert_eq!(
            (&document["type"], &document["code"], &document["status"]),
            (&json!(path), &json!(code), &json!(status))
        );
        let by_code = client.get(&format!("/problems/{code}")).success(200);
        assert_eq!(by_code, document, "the code itself leads to the page as well");
        for member in ["title", "meaning", "remedy"] {
            assert!(document[member].as_str().is_some_and(|text| text.len() > 5), "{document}");
        }
        for accept in ["text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"] {
            let page = client.send(&Ask::new("GET", &path).header("Accept", accept));
            assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
            assert!(page.text().starts_with("<!doctype html>"));
            for told in ["title", "meaning", "remedy"] {
                let told = document[told].as_str().unwrap();
                assert!(page.text().contains(told), "{told:?} is not on the page of {code}");
            }
        }
    }
    client.get("/problems/none").refused("not_found");
    client.get("/problems/sold-Out").refused("not_found");
    client.get("/problems/idempotency_key-reused").refused("not_found");
    client.get("/problems/").refused("not_found");
}

#[test]
fn the_title_of_a_problem_is_that_of_its_page() {
    let service = Service::start();
    let mut client = service.client();
    client.put_open_sale("drop", [("tv", 0)]);
    for refused in [
        client.reserve("drop", "ann", [("tv", 1)]).refused("sold_out"),
        client.get("/v1/sales/none").refused("sale_not_found"),
        client.get("/none").refused("not_found"),
    ] {
        let page = client.get(refused["type"].as_str().unwrap()).success(200);
        assert_eq!(page["title"], refused["title"]);
    }
}
