package est

import "net/http"

// notImplemented answers an optional operation that is not offered: RFC 7030,
// Section 4.3.2 leaves 404 and 501 for it.
func notImplemented(x *exchange) (response, error) {
	return response{}, fail(http.StatusNotImplemented, ruleOperation, "this server does not offer %s", x.op)
}
