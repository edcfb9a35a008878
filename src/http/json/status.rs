//! The JSON of the status call.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::figures::Figures;

/// The caller, and figures of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Status)]
pub struct StatusBody<'a> {
    /// The sender of the request.
    pub caller: CallerBody<'a>,
    /// Figures of the whole service. Left out for a key that is limited to certain sales.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Figures>)]
    pub service: Option<&'a Figures>,
}

/// The sender of the request: a key, or anybody if no keys are configured.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusCaller)]
pub struct CallerBody<'a> {
    /// The key's name; left out if the service has no keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// The key's role. Without keys everybody is an operator.
    pub role: &'static str,
    /// Whether the key is for all sales.
    pub all_sales: bool,
}
