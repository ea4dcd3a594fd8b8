### English texts of the pages that shoppers see. The keys are the same in every language.

## How numbers, money and moments are written

number-group = ,
number-decimal = .
money = { $symbol }{ $amount }
money-code = { $symbol }{"\u00A0"}{ $amount }
moment-format = %-d %b %Y, %H:%M UTC
clock-format = %H:%M:%S UTC

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
next-page = More
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
