package claim

import (
	"fmt"
	"net/http"
)

// Rejection is AWS's refusal of a request. Code and Message are AWS's own; decide
// on StatusCode, because AWS documents no list of codes.
type Rejection struct {
	Operation  string // CreateCertificateFromCsr or RegisterThing
	StatusCode int    // as in HTTP: 403 where the hook or a policy does not allow it
	Code       string
	Message    string
}

func (r *Rejection) Error() string {
	return fmt.Sprintf("AWS rejected %s: %d %s: %s", r.Operation, r.StatusCode, r.Code, r.Message)
}

// Temporary reports whether the same request may succeed later: AWS is throttling or
// out of order.
func (r *Rejection) Temporary() bool {
	return r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500
}

// invalidToken is the code for an ownership token that AWS does not take (seen in
// aws-iot-device-sdk-js-v2 issue 69).
const invalidToken = "InvalidCertificateOwnershipToken"
