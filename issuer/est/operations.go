package est

import "net/http"

// notImplemented answers an optional operation that is not offered: RFC 7030,
// Section 4.3.2 leaves 404 and 501 for it.
func notImplemented(x *exchange) (response, error) {
	return response{}, fail(http.StatusNotImplemented, ruleOperation, "this server does not offer %s", x.op)
}

// fullCMC refuses: Full CMC is the server's to offer, and one that does not
// answers 404 or 501 (RFC 7030, Section 4.3.2).
func (h *Handler) fullCMC(x *exchange) (response, error) { return notImplemented(x) }
