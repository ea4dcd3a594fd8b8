//! `GET /api/v1/admin/sagas`: orders that are still on their way, the stuck ones among them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::domain::{NextAction, Order, OrderId, Reason, Timestamp, UserId};
use crate::http::Shop;
use crate::http::extract::{Admin, Query, page_size};
use crate::http::problem::Problem;
use crate::ports::ledger::{OpenSaga, Progress};

use super::{Page, json};

/// Sagas looked through for stuck ones.
const LOOK_THROUGH_MAX: usize = 10_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSagas {
    /// Only those that are stuck.
    #[serde(default)]
    stuck: bool,
    /// Items, 1 to 100.
    limit: Option<usize>,
}

#[derive(Serialize)]
struct SagaView<'a> {
    id: OrderId,
    user_id: UserId,
    stuck: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck_at: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undoing: Option<Reason>,
    /// It waits for its customer, until then at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<&'a NextAction>,
    owner: uuid::Uuid,
    epoch: u32,
    updated_at: Timestamp,
    order: &'a Order,
}

impl<'a> From<&'a OpenSaga> for SagaView<'a> {
    fn from(saga: &'a OpenSaga) -> Self {
        Self {
            id: saga.order.id,
            user_id: saga.order.user_id,
            stuck: saga.stuck.is_some(),
            stuck_at: saga.stuck.map(crate::domain::StepName::as_str),
            undoing: match saga.progress {
                Progress::Forward => None,
                Progress::Undoing(reason) => Some(reason),
            },
            waits_until: saga.waits_until,
            next_action: saga.waits_until.and(saga.next_action.as_ref()),
            owner: saga.driver.instance.0,
            epoch: saga.driver.epoch,
            updated_at: saga.updated_at,
            order: &saga.order,
        }
    }
}

/// Lists sagas that are not finished, oldest first.
#[utoipa::path(get, path = "/api/v1/admin/sagas", tag = "administration", params(ListSagas),
    responses((status = 200, body = crate::http::openapi::SagaPage)), security(("token" = [])))]
pub async fn list_sagas(
    State(shop): State<Shop>,
    Admin(_): Admin,
    Query(query): Query<ListSagas>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit)?;
    let look_through = if query.stuck { LOOK_THROUGH_MAX } else { limit };
    let open = shop.stores.ledger.open_sagas(look_through).await?;
    let wanted = open.iter().filter(|saga| !query.stuck || saga.stuck.is_some());
    let items: Vec<SagaView<'_>> = wanted.take(limit).map(SagaView::from).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor: None }))
}
