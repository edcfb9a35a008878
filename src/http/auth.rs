//! Authentication and authorization: the caller's key, its role, and the sales that it may see.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::{
    BoxedResponse, problem,
    router::{Matched, Route},
};
use crate::auth::{Caller, Keyring, Role};

/// The least role that may make the call; None if the call needs no key.
pub fn needed(route: Route) -> Option<Role> {
    match route {
        Route::Unknown | Route::Problem | Route::OpenApi => None,
        Route::Console | Route::ConsoleFile | Route::Docs | Route::DocsFile => None,
        Route::ListSales | Route::GetSale | Route::Availability | Route::Report => Some(Role::Viewer),
        Route::GetReservation | Route::Events | Route::Status => Some(Role::Viewer),
        Route::Reserve | Route::ReserveBatch | Route::Confirm | Route::Release | Route::Extend => Some(Role::Checkout),
        Route::CustomerReservations => Some(Role::Checkout),
        Route::PutSale | Route::PatchSale | Route::Adjust => Some(Role::Operator),
        Route::PauseSale | Route::ResumeSale | Route::CloseSale => Some(Role::Operator),
        Route::EraseCustomer | Route::Audit => Some(Role::Operator),
    }
}

/// Whether the call's subject is a sale.
pub fn is_of_sale(route: Route) -> bool {
    match route {
        Route::PutSale | Route::PatchSale | Route::GetSale => true,
        Route::PauseSale | Route::ResumeSale | Route::CloseSale => true,
        Route::Availability | Route::Report | Route::Adjust | Route::Reserve | Route::ReserveBatch => true,
        Route::CustomerReservations => true,
        Route::Unknown | Route::ListSales | Route::Events | Route::Problem | Route::OpenApi => false,
        Route::GetReservation | Route::Confirm | Route::Release | Route::Extend => false,
        Route::EraseCustomer | Route::Audit | Route::Status => false,
        Route::Console | Route::ConsoleFile | Route::Docs | Route::DocsFile => false,
    }
}

/// Whether the call concerns every sale, so that a key limited to certain sales may not make it.
fn is_of_all_sales(route: Route) -> bool {
    route == Route::EraseCustomer
}

/// The caller, if the call needs one and the caller may make it. A sale that the caller may not see does not exist for it.
/// Whether a reservation belongs to such a sale is checked where the reservation is looked up.
pub fn authorize(
    keyring: &Keyring,
    headers: &HeaderMap,
    matched: &Matched,
) -> Result<Option<Arc<Caller>>, BoxedResponse> {
    let Some(needed) = needed(matched.route) else { return Ok(None) };
    let header = if keyring.asks_for_key() { headers.get(AUTHORIZATION) } else { None };
    let caller = keyring
        .authenticate(header.map(|value| value.as_bytes()))
        .map_err(|unauthenticated| problem::UNAUTHENTICATED.respond(unauthenticated.to_string()))?;
    if caller.role < needed {
        let (role, needed) = (caller.role.as_str(), needed.as_str());
        let detail = format!("the key's role is {role}; this call needs {needed}");
        return Err(problem::FORBIDDEN.respond(detail));
    }
    if is_of_all_sales(matched.route) && !caller.sees_all() {
        return Err(
            problem::FORBIDDEN.respond("this call concerns every sale, and the key is limited to certain sales")
        );
    }
    if is_of_sale(matched.route) && !caller.sees(&matched.subject) {
        return Err(problem::no_such_sale());
    }
    Ok(Some(caller))
}
