### Các dòng chữ tiếng Việt trên những trang mà người mua thấy. Khóa giống nhau ở mọi ngôn ngữ.

## Cách viết số, tiền và thời điểm

number-group = .
number-decimal = ,
money = { $amount }{"\u00A0"}{ $symbol }
money-code = { $amount }{"\u00A0"}{ $symbol }
moment-format = %H:%M %d/%m/%Y (UTC)
clock-format = %H:%M:%S UTC
instant-format = %H:%M:%S %d/%m/%Y (UTC)

## Khung của mọi trang

shop-name = Holdfast
shop-description = Vé, giày bản giới hạn, đĩa than bản đầu: những món bán hết là thôi. Bạn thấy đúng số còn lại, và đã mua là của bạn.
promise = Không bán trùng, không ai phải trả tiền cho món đã hết.
skip = Chuyển đến nội dung chính
search = Tìm
search-label = Tìm sản phẩm
search-placeholder = Bạn đang tìm gì?
account = Tài khoản
sign-in = Đăng nhập
sign-out = Đăng xuất
sign-up = Tạo tài khoản
orders = Đơn hàng của bạn
basket = Giỏ hàng
items = { $n } sản phẩm
language = Ngôn ngữ
language-en = English
language-vi = Tiếng Việt
api = API cho lập trình viên
first-page = Về trang đầu
next-page = Trang sau
problem = Chưa thực hiện được

## Tiêu đề, trên cửa sổ và trong lịch sử

title-catalogue = Đang bán
title-search = Tìm kiếm: { $q }
title-basket = Giỏ hàng
title-checkout = Thanh toán
title-orders = Đơn hàng của bạn
title-order = Đơn hàng { $number }
title-sign-in = Đăng nhập
title-sign-up = Tạo tài khoản

## Danh mục

catalogue-heading = Hết là thôi.
catalogue-lead = Số còn lại luôn là số thật, ngay lúc này.
catalogue-results = Kết quả cho “{ $q }”
catalogue-empty = Không tìm thấy sản phẩm nào.
catalogue-all = Xem tất cả
categories = Danh mục
category-all = Tất cả

## Tồn kho: máy chủ đếm, còn trên trang đang mở thì tập lệnh điền số vào {"{n}"}

stock-many = Còn { $n }
stock-few =
    { $n ->
        [1] Còn đúng 1
       *[other] Chỉ còn { $n }
    }
stock-none = Hết hàng
live-many = Còn { "{n}" }
live-few = Chỉ còn { "{n}" }
live-one = Còn đúng 1
live-none = Hết hàng
live-now = Trực tiếp
as-of = Cập nhật lúc

## Sản phẩm

picture-of = Hình ảnh: { $name }
price-free = Miễn phí
quantity = Số lượng
quantity-of = Số lượng { $name }
one-less = Bớt một: { $name }
one-more = Thêm một: { $name }
put-into-basket = Thêm vào giỏ
buy-now = Mua ngay
sold-out-hint = Hàng có thể trở lại khi một thanh toán không thành công. Cứ ở lại trang này, bạn sẽ thấy ngay.
sku = Mã sản phẩm

## Giỏ hàng và thanh toán

basket-empty = Giỏ hàng của bạn đang trống.
to-the-shop = Xem hàng đang bán
each = Đơn giá: { $price }
basket-short = Số còn lại ít hơn số bạn chọn. Hãy giảm số lượng hoặc xóa khỏi giỏ.
update = Cập nhật
remove = Xóa
total = Tổng cộng
to-checkout = Thanh toán
basket-holds-nothing = Hàng trong giỏ chưa được giữ chỗ: thanh toán xong mới là của bạn.
basket-cannot = Có sản phẩm không còn đủ hàng. Vui lòng sửa những dòng được đánh dấu.
checkout = Thanh toán
your-order = Sản phẩm bạn mua
change-basket = Sửa giỏ hàng
card = Bạn thanh toán bằng thẻ nào?
card-hint = Đây là các thẻ thử nghiệm. Không có tiền thật, nhưng mỗi thẻ hoạt động như thẻ thật.
nothing-to-pay = Đơn hàng này không phải trả tiền.
mail-goes-to = Chúng tôi sẽ gửi email đến { $email } khi hoàn tất.
pay = Thanh toán { $total }
place-order = Đặt hàng

card-ok = Thẻ hợp lệ
card-ok-hint = Thanh toán thành công.
card-declined = Thẻ bị từ chối
card-declined-hint = Ngân hàng từ chối; hàng được bán trở lại.
card-timeout-before = Không phản hồi, chưa trừ tiền
card-timeout-before-hint = Ngân hàng không phản hồi và chưa trừ khoản nào.
card-timeout-after = Không phản hồi, nhưng đã trừ tiền
card-timeout-after-hint = Ngân hàng không phản hồi nhưng đã trừ tiền: khoản này sẽ được tìm ra hoặc hoàn lại.
card-late = Thanh toán chậm
card-late-hint = Ngân hàng không phản hồi rồi trừ tiền muộn hơn một chút.
card-3ds = Thẻ cần bạn xác nhận
card-3ds-hint = Bạn xác nhận với ngân hàng; trong lúc đó hàng được giữ cho bạn.

## Đơn hàng

orders-empty = Bạn chưa mua gì cả.
order-number = Đơn hàng { $number }
order-more = và { $n } sản phẩm khác
order-pending-heading = Đang xử lý…
order-pending-lead = Hàng đang được giữ cho bạn. Chỉ mất một lát thôi.
order-act-heading = Ngân hàng cần bạn xác nhận
order-act-lead = Hãy xác nhận thanh toán. Trong lúc đó hàng vẫn được giữ cho bạn.
order-act = Xác nhận thanh toán
order-confirmed-heading = Đã là của bạn.
order-confirmed-lead = Đã thanh toán và dành riêng cho bạn.
order-failed-heading = Mua hàng không thành công
order-cancelled-heading = Đơn hàng đã hủy
order-lines = Các sản phẩm trong đơn hàng này
product = Sản phẩm
sum = Thành tiền
order-way = Tiến trình
order-moves = Hãy tải lại trang để xem tiến trình tiếp theo.
order-history = Toàn bộ diễn biến
cancel = Hủy đơn hàng này
cancel-hint = Tiền được hoàn lại cho bạn và hàng được bán trở lại. Không thể hoàn tác việc này.
cancel-now = Đồng ý hủy

status-pending = Đang xử lý
status-confirmed = Thành công
status-failed = Thất bại
status-cancelled = Đã hủy

step-reserved = Giữ hàng
step-created = Ghi nhận đơn hàng
step-paid = Thanh toán
step-confirmed = Xác nhận đơn hàng
state-done = Xong
state-now = Đang thực hiện
state-todo = Chưa đến lượt
state-failed = Không thành công
state-undone = Đã hoàn tác
note-waiting-for-customer = Đang chờ bạn xác nhận thanh toán.
note-nothing-to-pay = Không phải trả tiền.

## Vì sao một đơn hàng không được, hoặc không còn được, xác nhận

reason-insufficient-stock = Người khác đã nhanh tay hơn: không còn đủ hàng. Bạn không bị trừ tiền.
reason-price-changed = Giá đã thay đổi trong lúc bạn mua. Bạn không bị trừ tiền.
reason-payment-declined = Thanh toán bị từ chối. Bạn không bị trừ tiền; hãy thử thẻ khác.
reason-payment-unknown = Ngân hàng không phản hồi. Nếu đã bị trừ tiền, bạn sẽ được hoàn lại.
reason-concurrent-modification = Có thay đổi trong lúc bạn mua. Bạn không mất tiền; vui lòng thử lại.
reason-reserve-failed = Chúng tôi không giữ được hàng cho bạn. Bạn không bị trừ tiền; vui lòng thử lại.
reason-create-order-failed = Chúng tôi không ghi nhận được đơn hàng. Bạn không bị trừ tiền; vui lòng thử lại.
reason-confirm-failed = Chúng tôi không hoàn tất được đơn hàng. Bạn không mất tiền; vui lòng thử lại.
reason-expired = Đã hết thời gian thanh toán. Bạn không mất tiền và hàng được bán trở lại.
reason-cancelled-by-customer = Bạn đã hủy đơn hàng này. Tiền được hoàn lại cho bạn.

## Diễn biến của đơn hàng, mỗi loại sự kiện một dòng

event-saga-started = Bạn đặt mua
event-inventory-reserved = Hàng được giữ cho bạn
event-order-created = Đơn hàng được ghi nhận
event-payment-processed = Thanh toán thành công
event-order-confirmed = Đơn hàng được xác nhận
event-inventory-release-requested = Hàng được trả về kho
event-order-cancelled = Đơn hàng bị hủy
event-payment-refunded = Tiền được hoàn lại
event-order-failed = Đơn hàng không thành công

## Tài khoản

email = Địa chỉ email
password = Mật khẩu
password-hint = Ít nhất 8 ký tự.
no-account = Bạn chưa có tài khoản?
have-account = Bạn đã có tài khoản?

## Việc vừa làm xong, chỉ hiện một lần

notice-put-into-basket = Đã thêm vào giỏ hàng.
notice-signed-in = Chào mừng bạn trở lại.
notice-signed-up = Chào mừng bạn. Tài khoản đã được tạo.
notice-signed-out = Bạn đã đăng xuất.
notice-order-cancelled = Đơn hàng đang được hủy; tiền sẽ được hoàn lại cho bạn.

## Khi một việc không làm được

problem-out-of-stock = Không còn đủ hàng. Bạn chưa bị trừ tiền.
problem-price-changed = Giá đã thay đổi. Hãy xem tổng tiền mới rồi thanh toán lại; bạn chưa bị trừ tiền.
problem-attempt-expired = Giao dịch quá lâu nên đã bị bỏ. Bạn chưa bị trừ tiền; vui lòng thử lại.
problem-payment-declined = Thanh toán bị từ chối. Bạn chưa bị trừ tiền; hãy thử thẻ khác.
problem-payment-unknown = Ngân hàng không phản hồi. Nếu đã bị trừ tiền, bạn sẽ được hoàn lại. Vui lòng thử lại.
problem-rate-limited = Có quá nhiều yêu cầu từ tài khoản hoặc địa chỉ của bạn. Vui lòng chờ một lát rồi thử lại; bạn chưa bị trừ tiền.
problem-order-failed = Đơn hàng không thành công. Bạn không mất tiền; vui lòng thử lại.
problem-not-cancellable = Đơn hàng này không thành công nên không còn gì để hủy.
problem-email-taken = Địa chỉ này đã có tài khoản. Bạn hãy đăng nhập.
problem-unauthorized = Vui lòng đăng nhập trước.
problem-forbidden = Tài khoản này không được phép làm việc đó.
problem-not-found = Không tìm thấy.
problem-invalid-request = Có thông tin chưa đúng. Vui lòng kiểm tra lại.
problem-malformed-request = Chúng tôi không đọc được yêu cầu. Vui lòng thử lại.
problem-body-too-large = Dữ liệu gửi lên quá lớn.
problem-body-timeout = Dữ liệu đến quá chậm. Vui lòng gửi lại.
problem-idempotency-key-reused = Trang này đã cũ. Vui lòng bắt đầu lại từ giỏ hàng.
problem-busy = Đang có rất nhiều người mua. Hãy thử lại sau giây lát; bạn không bị trừ tiền hai lần.
problem-unavailable = Chưa có phản hồi. Hãy thử lại sau giây lát; bạn không bị trừ tiền hai lần.
problem-internal = Đã có lỗi từ phía chúng tôi. Vui lòng thử lại; bạn không bị trừ tiền hai lần.
problem-sign-in = Địa chỉ email hoặc mật khẩu không đúng.
problem-email = Đây có vẻ không phải là địa chỉ email.
problem-password = Mật khẩu cần có từ { $min } đến { $max } ký tự.
problem-currencies = Không thể mua chung các sản phẩm khác loại tiền.

## Thông báo chiếm cả trang

error-not-found-heading = Không tìm thấy trang
error-not-found = Địa chỉ không đúng, hoặc nội dung không còn nữa.
error-forbidden-heading = Không dành cho tài khoản này
error-forbidden = Bạn đã đăng nhập, nhưng không có quyền xem trang này.
error-csrf-heading = Trang đã mở quá lâu
error-csrf = Để bảo vệ bạn, chưa có gì được thực hiện. Hãy quay lại, tải lại trang và làm lại.
error-busy-heading = Đang rất đông khách
error-busy = Cửa hàng đang đầy. Bạn cứ ở lại đây, lát nữa trang sẽ tự vào.
error-unavailable-heading = Chưa có phản hồi
error-unavailable = Một phần của cửa hàng chưa phản hồi. Đơn hàng vẫn an toàn: không mất đơn nào, không trừ tiền hai lần.
error-internal-heading = Lỗi từ phía chúng tôi
error-internal = Đã có lỗi từ phía chúng tôi và chúng tôi đã ghi nhận. Đơn hàng vẫn an toàn: không mất đơn nào, không trừ tiền hai lần.
error-request-heading = Không đọc được yêu cầu
error-request = Trình duyệt của bạn đã gửi một yêu cầu mà chúng tôi không đọc được. Chưa có gì thay đổi.
link-home = Về cửa hàng
link-basket = Đến giỏ hàng
retry-in = Tự thử lại sau
seconds = giây

## Quản trị

administration = Quản trị
admin-dashboard = Ngay lúc này
admin-products = Sản phẩm
admin-orders = Đơn hàng
admin-analytics = Thống kê
admin-users = Người dùng
title-dashboard = Ngay lúc này
title-admin-products = Sản phẩm
title-admin-orders = Đơn hàng
title-new-product = Sản phẩm mới
title-import = Nhập danh sách sản phẩm
title-analytics = Thống kê
title-users = Người dùng

figure-sales = Đơn thành công mỗi giây
figure-sold-out = Lượt hết hàng mỗi giây
figure-busy = Bị từ chối do quá tải mỗi giây
figure-views = Lượt xem mỗi giây
figure-p50-ms = 50% trả lời trong (ms)
figure-p95-ms = 95% trả lời trong (ms)
figure-p99-ms = 99% trả lời trong (ms)
figure-cache-hit-rate = Tỷ lệ trả lời từ bộ nhớ đệm (%)
figure-servers = Máy chủ
chart-purchases = Lượt mua mỗi giây
chart-latency = Thời gian trả lời người mua, ms
chart-views = Lượt xem mỗi giây
chart-cache = Tỷ lệ trả lời từ bộ nhớ đệm (%)

selling-now = Đang bán chạy
selling-nothing = Không bán được gì trong một phút vừa qua.
sold-last-minute = Đã bán trong một phút qua
available = Có thể bán
held = Đang giữ
on-hand = Tồn kho
consumers = Bộ xử lý sự kiện
consumers-none = Chưa có bộ xử lý nào đọc sự kiện của cửa hàng này.
consumer = Bộ xử lý
messages-behind = Tin chưa xử lý
stuck-orders = Đơn hàng bị kẹt
stuck-none = Không có. Mọi đơn hàng đang được xử lý hoặc đã xong.
on-their-way = Đơn đang xử lý:
of-them-waiting = trong đó chờ khách:
resume = Xử lý tiếp

find-product = Tên hoặc mã sản phẩm
find-order = Mã đơn đầy đủ, số khách hàng hoặc email
find-user = Một phần địa chỉ email
new-product = Thêm sản phẩm
see-in-shop = Xem trong cửa hàng
name = Tên
description = Mô tả
category = Danh mục
price = Giá
currency = Loại tiền
opening-stock = Tồn kho ban đầu
save = Lưu
stock = Tồn kho
stock-delta = Số lượng thêm hoặc bớt
stock-delta-hint = +10 là thêm mười; -3 là bớt ba sản phẩm chưa ai mua.
reason = Lý do
change-stock = Điều chỉnh tồn kho
stock-log = Lịch sử tồn kho
stock-reason-opening = Tồn kho ban đầu
stock-reason-sale = Bán hàng
stock-reason-cancel = Hoàn kho do hủy đơn

import = Nhập danh sách sản phẩm
import-lead = Các cột: sku, name, description, category, price, currency, stock. Bạn xem trước từng dòng sẽ thay đổi gì rồi mới xác nhận.
import-file = Tệp
import-csv = Nội dung CSV
import-look = Xem trước
import-plan = Xem trước
import-now = Nhập
import-becomes = Sẽ thành
import-new = Mới
import-change = Thay đổi
import-same = Giữ nguyên
import-stock = { $price }, tồn kho { $n }
import-summary = { $new } mới, { $change } thay đổi, { $same } như cũ. Tồn kho và những ô để trống được giữ nguyên.
start-over = Bắt đầu lại
line = Dòng
details = Chi tiết

order = Đơn hàng
status = Trạng thái
customer = Khách hàng
when = Thời gian
orders-none = Không có đơn hàng nào.
saga-at = Trạng thái xử lý:
saga-stuck-at = bị kẹt ở bước “{ $step }”
saga-undoing-at = đang hoàn tác ở bước “{ $step }”
saga-step-reserve-stock = giữ hàng
saga-step-create-order = ghi nhận đơn hàng
saga-step-take-payment = thanh toán
saga-step-confirm-order = xác nhận
payments = Thanh toán
payments-none = Chưa có giao dịch nào.
notifications = Thông báo cho khách
notifications-none = Chưa có gì.
attempts = { $n } lần thử
mail-waiting = Đang chờ
mail-sent = Đã gửi
mail-refused = Bị từ chối
mail-unaddressed = Không có địa chỉ email

span = Khoảng thời gian
span-hour = 1 giờ qua
span-day = 24 giờ qua
span-week = 7 ngày qua
analytics-sales = Đơn thành công
analytics-a-bar = mỗi cột là { $n } phút
analytics-bar = { $when }: { $n }
analytics-top = Bán chạy nhất từ trước đến nay
analytics-failures = Đơn thất bại
analytics-none = Không có gì trong khoảng thời gian này.
revenue = Doanh thu
sales-word = đơn
units-word = sản phẩm
units = Số lượng
given-back = đã hoàn tiền

number = Mã số
since = Tạo lúc
orders-word = Đơn hàng
orders-of = Đơn hàng của { $email }
role = Vai trò
role-of = Vai trò của { $email }
role-customer = Khách hàng
role-admin = Quản trị viên
role-own = bạn
users-all = Tất cả
users-admins = Quản trị viên
users-none = Không tìm thấy ai.

notice-saved = Đã lưu.
notice-restocked = Đã cập nhật tồn kho.
notice-imported = Đã nhập danh sách sản phẩm.
notice-resumed = Đơn hàng đang được xử lý tiếp.

stock-log-none = Các thay đổi của sản phẩm này nằm trước một trăm nghìn thay đổi gần nhất của cửa hàng.
import-meanwhile = Cửa hàng vừa có thay đổi. Hãy xem lại các dòng sẽ thay đổi gì.

problem-too-few-units = Không có đủ số lượng để bớt.
problem-old-form = Trang này đã cũ. Hãy tải lại.
problem-sku-taken = Một sản phẩm khác đã có mã sản phẩm này.
problem-version-conflict = Người khác vừa thay đổi sản phẩm này.
problem-not-stuck = Đơn hàng này không bị kẹt.
problem-last-admin = Phải luôn có ít nhất một quản trị viên. Hãy cấp quyền cho người khác trước.
problem-malformed-json = Chúng tôi không đọc được dữ liệu. Vui lòng thử lại.

last-five-minutes = Năm phút vừa qua
line-sales = Đơn thành công
line-sold-out = Hết hàng
line-declined = Bị từ chối
line-failed = Thất bại
line-p50-ms = 50%
line-p95-ms = 95%
line-p99-ms = 99%
line-views = Lượt xem
line-cache-hit-rate = Tỷ lệ trả lời từ bộ nhớ đệm (%)

happened-saga-started = Khách hàng đặt mua
happened-inventory-reserved = Hàng được giữ
happened-order-created = Đơn hàng được ghi nhận
happened-payment-processed = Thanh toán thành công
happened-order-confirmed = Đơn hàng được xác nhận
happened-inventory-release-requested = Hàng được trả về kho
happened-order-cancelled = Khách hàng hủy đơn
happened-payment-refunded = Tiền được hoàn lại
happened-order-failed = Đơn hàng thất bại

why-insufficient-stock = Hết hàng
why-price-changed = Giá đã thay đổi
why-payment-declined = Thanh toán bị từ chối
why-payment-unknown = Cổng thanh toán không phản hồi
why-concurrent-modification = Có thay đổi khác cùng lúc
why-reserve-failed = Không giữ được hàng
why-create-order-failed = Không ghi nhận được đơn hàng
why-confirm-failed = Không xác nhận được đơn hàng
why-expired = Khách không thanh toán kịp thời hạn
why-cancelled-by-customer = Khách hàng tự hủy
