package dpssim

import (
	"net/http"
	"strconv"
)

// Error numbers of the service. Those whose number no source has are the status
// followed by three noughts.
const (
	codeInvalid      = 400004 // known for "Invalid RegistrationId": Azure/azure-iot-sdk-c#405
	codeUnauthorized = 401002
	codeNoEnrollment = 404201 // MicrosoftDocs/azure-docs#57082, which has 404202 too and says for neither what it is
	codeNoOperation  = 404203 // "Operation not found.", as the tests of nrfconnect/sdk-nrf have it
	codeNotFound     = 404000
	codeMethod       = 405000
	codeConflict     = 409000
	codePrecondition = 412000
	codeMediaType    = 415000
	codeTooMany      = 429000
	codeInternal     = 500000
)

// denial is why a request is refused, by the data plane or by the device API.
type denial struct {
	status  int
	code    int
	message string
	// rule and why are ours: for the event log, and for info of the answer.
	rule, why string
}

func (d *denial) Error() string { return strconv.Itoa(d.code) + ": " + d.message }

// deny makes the answer of an error.
func (s *Sim) deny(err error) answer {
	d, found := err.(*denial)
	if !found {
		s.cfg.Logger.Error("call failed", "err", err)
		return s.dpsError(http.StatusInternalServerError, codeInternal, "internal error of the simulator")
	}
	a := s.dpsError(d.status, d.code, d.message)
	if body, ok := a.body.(map[string]any); ok && d.rule != "" {
		body["info"] = map[string]string{"simulatorRule": d.rule, "simulatorSays": d.why}
	}
	return a
}
