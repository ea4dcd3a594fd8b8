//! The description of the API, made from the handlers, and a browsable copy that needs nothing from
//! outside. The types here only describe; the real ones are in [`crate::domain`].

use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{Shop, api};

/// The pages `/openapi.json` and `/docs/`.
pub fn pages() -> Router<Shop> {
    // Unless told otherwise, the page shows the description to a validator on the internet.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", Description::openapi()).config(config).into()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        description = "Sells things that run out. Errors are RFC 9457 problem details; each `type` is a page that \
                       explains it."
    ),
    paths(
        api::register::register,
        api::login::login,
        api::list_products::list_products,
        api::view_product::view_product,
        api::live_product::live_product,
        api::create_order::create_order,
        api::list_orders::list_orders,
        api::view_order::view_order,
        api::live_order::live_order,
        api::list_events::list_events,
        api::list_notifications::list_notifications,
        api::cancel_order::cancel_order,
        api::continue_payment::continue_payment,
        api::stripe_webhook::stripe_webhook,
        api::create_product::create_product,
        api::change_product::change_product,
        api::adjust_stock::adjust_stock,
        api::view_analytics::view_analytics,
        api::create_webhook::create_webhook,
        api::list_webhooks::list_webhooks,
        api::change_webhook::change_webhook,
        api::delete_webhook::delete_webhook,
        api::rotate_webhook_secret::rotate_webhook_secret,
        api::list_webhook_deliveries::list_webhook_deliveries,
        api::replay_webhook::replay_webhook,
        api::list_sagas::list_sagas,
        api::list_findings::list_findings,
        api::resume_saga::resume_saga,
        api::health::healthz,
        api::health::readyz,
        api::metrics::metrics,
    ),
    modifiers(&Security)
)]
struct Description;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// Whole minor units of a currency.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Money {
    #[schema(example = 1250)]
    amount: i64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Product {
    id: i64,
    sku: String,
    name: String,
    description: String,
    category: String,
    price: Money,
    /// Units that can be had.
    available: i64,
    /// When `available` was true.
    as_of: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct ProductPage {
    items: Vec<Product>,
    next_cursor: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct AdminProduct {
    id: i64,
    sku: String,
    name: String,
    description: String,
    category: String,
    price: Money,
    available: i64,
    stock: i64,
    reserved: i64,
    version: i64,
    updated_at: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct OrderLine {
    product_id: i64,
    sku: String,
    name: String,
    quantity: u32,
    unit_price: Money,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Order {
    id: uuid::Uuid,
    /// PENDING, CONFIRMED, FAILED or CANCELLED.
    status: String,
    /// Why it is not, or no longer, CONFIRMED.
    reason: Option<String>,
    lines: Vec<OrderLine>,
    total: Money,
    created_at: String,
    updated_at: String,
    /// What the customer has to do before the payment can be taken; only while the order is PENDING for that.
    next_action: Option<NextAction>,
}

/// Open `url` and follow it; then `POST /api/v1/orders/{id}/payment/continue`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct NextAction {
    #[schema(example = "redirect_to_url")]
    r#type: String,
    /// Relative to the shop's address, where it begins with a slash.
    url: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct OrderPage {
    items: Vec<Order>,
    next_cursor: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Event {
    saga_id: uuid::Uuid,
    /// Counts from 1 without gaps.
    sequence: u32,
    time: String,
    /// For example OrderCreated.
    r#type: String,
    data: serde_json::Value,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct EventPage {
    items: Vec<Event>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Saga {
    id: uuid::Uuid,
    user_id: i64,
    stuck: bool,
    stuck_at: Option<String>,
    undoing: Option<String>,
    /// It waits for its customer, until then at most.
    waits_until: Option<String>,
    next_action: Option<NextAction>,
    owner: uuid::Uuid,
    epoch: u32,
    updated_at: String,
    order: Order,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct SagaPage {
    items: Vec<Saga>,
}

/// RFC 9457 problem details.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Problem {
    /// The address of a page that explains it.
    r#type: String,
    title: String,
    status: u16,
    detail: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Notification {
    /// order-confirmation or shipping-notice.
    kind: String,
    /// waiting, sent, refused, or unaddressed: the customer has no address.
    state: String,
    created_at: String,
    sent_at: Option<String>,
    subject: String,
    text: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct NotificationPage {
    items: Vec<Notification>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Finding {
    saga_id: uuid::Uuid,
    /// stopped or contradiction.
    kind: String,
    detail: String,
    found_at: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct FindingPage {
    items: Vec<Finding>,
}

/// Sales of a minute in one currency, and those of them that were taken back.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct MinuteOfSales {
    /// When it began.
    minute: String,
    sales: i64,
    units: i64,
    revenue: Money,
    cancelled_sales: i64,
    cancelled_units: i64,
    cancelled: Money,
}

/// Orders that FAILED in a minute.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct MinuteOfFailures {
    minute: String,
    reason: String,
    orders: i64,
}

/// Sales of a product of all time in one currency.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct ProductSales {
    product_id: i64,
    sales: i64,
    units: i64,
    revenue: Money,
    cancelled_sales: i64,
    cancelled_units: i64,
    cancelled: Money,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Analytics {
    from: String,
    to: String,
    minutes: Vec<MinuteOfSales>,
    failures: Vec<MinuteOfFailures>,
    top_products: Vec<ProductSales>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct Webhook {
    id: uuid::Uuid,
    url: String,
    description: String,
    /// Such as order.confirmed; null for everything.
    events: Option<Vec<String>>,
    enabled: bool,
    /// administrator, gone (it answered 410), or failing (for five days).
    disabled_because: Option<String>,
    /// The first failure since the last success.
    failing_since: Option<String>,
    created_at: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// Shown once: the key of the HMAC-SHA256 in base64 after `whsec_`.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    secret: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct WebhookPage {
    items: Vec<Webhook>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct WebhookDelivery {
    /// The header webhook-id.
    id: String,
    order_id: uuid::Uuid,
    /// For example order.confirmed.
    r#type: String,
    /// When it happened.
    timestamp: String,
    /// waiting, delivered, failed, or skipped: it came while the endpoint was disabled.
    state: String,
    /// Tries since it was made or replayed.
    attempts: u32,
    next_attempt_at: Option<String>,
    delivered_at: Option<String>,
    /// Of the last answer.
    status: Option<u16>,
    /// Why it was not taken last.
    error: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct WebhookDeliveryPage {
    items: Vec<WebhookDelivery>,
    next_cursor: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes")]
pub struct ReplayedWebhook {
    /// So many wait to be sent again.
    deliveries: u64,
}
