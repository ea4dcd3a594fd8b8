### English texts of the pages that shoppers see. The keys are the same in every language.

## How numbers, money and moments are written

number-group = ,
number-decimal = .
money = { $symbol }{ $amount }
money-code = { $symbol }{"\u00A0"}{ $amount }
moment-format = %-d %b %Y, %H:%M UTC
clock-format = %H:%M:%S UTC
instant-format = %-d %b %Y, %H:%M:%S UTC

## The frame of every page

shop-name = Holdfast
shop-description = Tickets, limited shoes, first pressings: things that run out. You see what is left, and what you buy is yours.
promise = Nothing is sold twice, and nobody pays for what is gone.
skip = Skip to the content
search = Search
search-label = Search for a product
search-placeholder = What are you after?
account = Account
sign-in = Sign in
sign-out = Sign out
sign-up = Open an account
orders = Your orders
basket = Basket
items =
    { $n ->
        [one] { $n } item
       *[other] { $n } items
    }
language = Language
language-en = English
language-vi = Tiếng Việt
api = API for developers
first-page = Back to the start
next-page = Next page
problem = That did not work

## Titles, in the window and in the history

title-catalogue = For sale
title-search = Search: { $q }
title-basket = Basket
title-checkout = Checkout
title-orders = Your orders
title-order = Order { $number }
title-sign-in = Sign in
title-sign-up = Open an account

## Catalogue

catalogue-heading = Here until they’re gone.
catalogue-lead = Every number is the real one, this very moment.
catalogue-results = Results for “{ $q }”
catalogue-empty = Nothing here matches.
catalogue-all = Show everything
categories = Categories
category-all = Everything

## Stock: counted by the server, and on open pages by the script, which puts the number for {"{n}"}

stock-many = { $n } left
stock-few =
    { $n ->
        [1] The last one
       *[other] Only { $n } left
    }
stock-none = Sold out
live-many = { "{n}" } left
live-few = Only { "{n}" } left
live-one = The last one
live-none = Sold out
live-now = Live
as-of = Counted at

## Product

picture-of = Picture: { $name }
price-free = Free
quantity = Quantity
quantity-of = Quantity of { $name }
one-less = One less: { $name }
one-more = One more: { $name }
put-into-basket = Add to basket
buy-now = Buy now
sold-out-hint = Some come back when somebody’s payment falls through. Stay here: this page shows them at once.
sku = Article

## Basket and checkout

basket-empty = Your basket is empty.
to-the-shop = See what there is
each = Each: { $price }
basket-short = There are fewer left than you want. Take less, or remove it.
update = Update
remove = Remove
total = Total
to-checkout = To the checkout
basket-holds-nothing = Nothing is held back while it is in a basket. It is yours once you have paid.
basket-cannot = Not everything here can be had any more. Change the lines that are marked.
checkout = Checkout
your-order = What you buy
change-basket = Change the basket
card = How do you pay?
card-hint = These are test cards. No money moves, but each behaves like a real one.
nothing-to-pay = There is nothing to pay for this order.
mail-goes-to = We write to { $email } when it is done.
pay = Pay { $total }
place-order = Order now

card-ok = A card that works
card-ok-hint = The payment goes through.
card-declined = A card that is declined
card-declined-hint = The bank says no, and what was held for you is free again.
card-timeout-before = No answer, no payment
card-timeout-before-hint = The bank stays silent and has taken nothing.
card-timeout-after = No answer, but a payment
card-timeout-after-hint = The bank stays silent and has taken the money: it is found, or given back.
card-late = A late payment
card-late-hint = The bank stays silent and takes the money a moment later.
card-3ds = A card that asks you first
card-3ds-hint = You confirm the payment with your bank. What you chose is held for you meanwhile.

## Orders

orders-empty = You have not bought anything yet.
order-number = Order { $number }
order-more = and { $n } more
order-pending-heading = On its way…
order-pending-lead = What you chose is held for you. This takes a moment.
order-act-heading = Your bank is asking for you
order-act-lead = Confirm the payment. What you chose is held for you meanwhile.
order-act = Confirm the payment
order-confirmed-heading = It’s yours.
order-confirmed-lead = Paid and set aside for you.
order-failed-heading = This did not work out
order-cancelled-heading = Taken back
order-lines = Products of this order
product = Product
sum = Sum
order-way = Progress
order-moves = Load this page again to see how it goes on.
order-history = Everything that happened
cancel = Cancel this order
cancel-hint = Your money goes back to you, and what you bought goes back on sale. That cannot be undone.
cancel-now = Yes, cancel it

status-pending = On its way
status-confirmed = Confirmed
status-failed = Failed
status-cancelled = Cancelled

step-reserved = Holding what you chose
step-created = Taking down the order
step-paid = Payment
step-confirmed = Confirmation
state-done = Done
state-now = Under way
state-todo = Still to come
state-failed = Did not work
state-undone = Taken back
note-waiting-for-customer = Waiting for you to confirm the payment.
note-nothing-to-pay = Nothing to pay.

## Why an order is not, or no longer, confirmed

reason-insufficient-stock = Others were faster: there was not enough left. You were not charged.
reason-price-changed = The price changed while you were buying. You were not charged.
reason-payment-declined = The payment was declined. You were not charged; try another card.
reason-payment-unknown = The bank did not answer. If it took any money, that goes back to you.
reason-concurrent-modification = Something changed while you were buying. You keep your money; please try again.
reason-reserve-failed = We could not hold what you chose. You were not charged; please try again.
reason-create-order-failed = We could not take the order down. You were not charged; please try again.
reason-confirm-failed = We could not complete the order. You keep your money; please try again.
reason-expired = The time for paying ran out. You keep your money, and what was held for you is on sale again.
reason-cancelled-by-customer = You cancelled this order. Your money goes back to you.

## History of an order, one label for each kind of event

event-saga-started = You asked to buy
event-inventory-reserved = What you chose was held for you
event-order-created = The order was taken down
event-payment-processed = The payment went through
event-order-confirmed = The order was confirmed
event-inventory-release-requested = What was held went back on sale
event-order-cancelled = The order was cancelled
event-payment-refunded = The money was given back
event-order-failed = The order failed

## Accounts

email = E-mail address
password = Password
password-hint = 8 characters or more.
no-account = New here?
have-account = You have an account?

## What was done, shown once

notice-put-into-basket = That is in your basket.
notice-signed-in = Welcome back.
notice-signed-up = Welcome. Your account is open.
notice-signed-out = You are signed out.
notice-order-cancelled = The order is being cancelled; your money goes back to you.

## What shoppers are told when something cannot be done

problem-out-of-stock = There is not enough left. Nothing was charged.
problem-price-changed = The price has changed. Look at the new total, then pay again; nothing was charged.
problem-attempt-expired = That took too long and was given up. Nothing was charged; please try again.
problem-payment-declined = The payment was declined. Nothing was charged; try another card.
problem-payment-unknown = The bank did not answer. If it took any money, that goes back to you. Please try again.
problem-rate-limited = Too many requests came from your account or your address. Please wait a moment, then try again; nothing was charged.
problem-order-failed = The order did not work out. You keep your money; please try again.
problem-not-cancellable = This order failed, so there is nothing left to cancel.
problem-email-taken = There is an account with this address. Sign in instead.
problem-unauthorized = Please sign in first.
problem-forbidden = This account may not do that.
problem-not-found = There is no such thing here.
problem-invalid-request = Something you entered cannot be right. Please check it.
problem-malformed-request = We could not read that. Please try again.
problem-body-too-large = That is more than we can take.
problem-body-timeout = That arrived too slowly. Please send it again.
problem-idempotency-key-reused = This page is out of date. Please start again from your basket.
problem-busy = Many people are buying right now. Try again in a moment; you will not be charged twice.
problem-unavailable = We have no answer yet. Try again in a moment; you will not be charged twice.
problem-internal = Something went wrong on our side. Please try again; you will not be charged twice.
problem-sign-in = The address or the password is wrong.
problem-email = This does not look like an e-mail address.
problem-password = A password has { $min } to { $max } characters.
problem-currencies = Products in different currencies cannot be bought together.

## Messages that take a page

error-not-found-heading = Nothing here
error-not-found = The address is wrong, or what was here is gone.
error-forbidden-heading = Not for this account
error-forbidden = You are signed in, but this is for others.
error-csrf-heading = This page was open too long
error-csrf = For your safety nothing was done. Go back, load the page again and repeat it.
error-busy-heading = Many people at the door
error-busy = The shop is full right now. Stay here: you get in by yourself in a moment.
error-unavailable-heading = No answer yet
error-unavailable = A part of the shop is silent. Orders are safe: none is lost, and none is charged twice.
error-internal-heading = That was our fault
error-internal = Something went wrong on our side, and we know of it. Orders are safe: none is lost, and none is charged twice.
error-request-heading = We could not read that
error-request = Your browser sent something that we cannot read. Nothing was changed.
link-home = To the shop
link-basket = To the basket
retry-in = Trying again in
seconds = s

## Administration

administration = Administration
admin-dashboard = Now
admin-products = Products
admin-orders = Orders
admin-analytics = Analytics
admin-users = People
title-dashboard = Now
title-admin-products = Products
title-admin-orders = Orders
title-new-product = New product
title-import = Import a catalogue
title-analytics = Analytics
title-users = People

figure-sales = Sales a second
figure-sold-out = Sold out, a second
figure-busy = Sent away, a second
figure-views = Views a second
figure-p50-ms = Half answered within, ms
figure-p95-ms = 95 % within, ms
figure-p99-ms = 99 % within, ms
figure-cache-hit-rate = Answered by caches, %
figure-servers = Servers
chart-purchases = Purchases a second
chart-latency = Answers to buyers, ms
chart-views = Looks a second
chart-cache = Answered by caches, %

selling-now = Selling now
selling-nothing = Nothing was sold in the last minute.
sold-last-minute = Sold in a minute
available = Available
held = Held
on-hand = On hand
consumers = Consumers
consumers-none = Nobody reads the events of this shop.
consumer = Consumer
messages-behind = Messages behind
stuck-orders = Stuck orders
stuck-none = None. Every order is on its way or has ended.
on-their-way = Orders on their way:
of-them-waiting = waiting for their customers:
resume = Take it up again

find-product = Name or article
find-order = Whole id of an order, customer’s number or address
find-user = Part of an address
new-product = New product
see-in-shop = See it in the shop
name = Name
description = Description
category = Category
price = Price
currency = Currency
opening-stock = Opening stock
save = Save
stock = Stock
stock-delta = Units that come or go
stock-delta-hint = +10 adds ten, -3 takes three away that nobody has bought.
reason = Reason
change-stock = Change the stock
stock-log = What became of it
stock-reason-opening = Opening stock
stock-reason-sale = Sale
stock-reason-cancel = Taken back

import = Import a catalogue
import-lead = Columns: sku, name, description, category, price, currency, stock. You see what becomes of each row before anything is changed.
import-file = File
import-csv = Rows
import-look = See what becomes of it
import-plan = What becomes of it
import-now = Import it
import-becomes = Becomes
import-new = New
import-change = Changed
import-same = As it is
import-stock = { $price }, { $n } in stock
import-summary = { $new } new, { $change } changed, { $same } as they are. Stock, and what a row leaves empty, stays as it is.
start-over = Start over
line = Line
details = Details

order = Order
status = Status
customer = Customer
when = When
orders-none = No orders.
saga-at = Under way:
saga-stuck-at = stuck at “{ $step }”
saga-undoing-at = being undone at “{ $step }”
saga-step-reserve-stock = holding the units
saga-step-create-order = taking down the order
saga-step-take-payment = payment
saga-step-confirm-order = confirmation
payments = Payments
payments-none = No money has moved.
notifications = What the customer was told
notifications-none = Nothing yet.
attempts =
    { $n ->
        [one] { $n } try
       *[other] { $n } tries
    }
mail-waiting = Waiting
mail-sent = Sent
mail-refused = Refused
mail-unaddressed = No address

span = Span of time
span-hour = An hour
span-day = A day
span-week = A week
analytics-sales = Sales
analytics-a-bar =
    { $n ->
        [1] a bar is a minute
       *[other] a bar is { $n } minutes
    }
analytics-bar = { $when }: { $n }
analytics-top = Sells best, of all time
analytics-failures = What failed
analytics-none = Nothing in this time.
revenue = Revenue
sales-word = sales
units-word = units
units = Units
given-back = given back

number = Number
since = Since
orders-word = Orders
orders-of = Orders of { $email }
role = Role
role-of = Role of { $email }
role-customer = Customer
role-admin = Administrator
role-own = you
users-all = Everybody
users-admins = Administrators
users-none = Nobody.

notice-saved = Saved.
notice-restocked = The stock is changed.
notice-imported = The catalogue is imported.
notice-resumed = The order is taken up again.

stock-log-none = Its changes are further back than the last hundred thousand of the shop.
import-meanwhile = The shop has changed meanwhile. Look at what would become of it now.

problem-too-few-units = There are not so many units to take away.
problem-old-form = This page is out of date. Load it again.
problem-sku-taken = Another product has this article number.
problem-version-conflict = Somebody else has changed it meanwhile.
problem-not-stuck = This order is not stuck.
problem-last-admin = Somebody has to stay administrator. Make somebody else one first.
problem-malformed-json = We could not read that. Please try again.

last-five-minutes = The last five minutes
line-sales = Sales
line-sold-out = Sold out
line-declined = Declined
line-failed = Failed
line-p50-ms = 50 %
line-p95-ms = 95 %
line-p99-ms = 99 %
line-views = Looks
line-cache-hit-rate = Answered by caches

happened-saga-started = The customer asked to buy
happened-inventory-reserved = The units were held
happened-order-created = The order was taken down
happened-payment-processed = The payment went through
happened-order-confirmed = The order was confirmed
happened-inventory-release-requested = The units went back on sale
happened-order-cancelled = The customer took the order back
happened-payment-refunded = The money was given back
happened-order-failed = The order failed

why-insufficient-stock = Sold out
why-price-changed = The price had changed
why-payment-declined = The payment was declined
why-payment-unknown = The gateway did not answer
why-concurrent-modification = Something else changed it meanwhile
why-reserve-failed = The units could not be held
why-create-order-failed = The order could not be taken down
why-confirm-failed = The order could not be confirmed
why-expired = The customer did not pay in time
why-cancelled-by-customer = The customer took it back
