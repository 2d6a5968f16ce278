package dpsreg_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"mintmark/dpsreg/dps"
)

// registered is what a device is told.
type registered struct {
	OperationID  string                 `json:"operationId"`
	Status       string                 `json:"status"`
	Registration *dps.RegistrationState `json:"registrationState"`
	ErrorCode    int                    `json:"errorCode"`
	Message      string                 `json:"message"`
}

// register registers as the device does, with its certificate and chain, and returns
// what became of it. A device that is refused is an error with the service's text.
func (w *world) register(d device) (dps.RegistrationState, error) {
	w.t.Helper()
	certificate := tls.Certificate{PrivateKey: d.key, Certificate: [][]byte{d.leaf.Raw}}
	for _, c := range d.chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	client := w.http(certificate)
	id := strings.ToLower(d.leaf.Subject.CommonName)
	base := "https://global.azure-devices-provisioning.net/" + w.sim.Config().IDScope + "/registrations/" + id
	answer, err := w.deviceCall(client, http.MethodPut, base+"/register", map[string]any{"registrationId": id})
	for polls := 0; err == nil && answer.Status == "assigning"; polls++ {
		if polls > 5 {
			return dps.RegistrationState{}, errors.New("the service does not come to an end")
		}
		answer, err = w.deviceCall(client, http.MethodGet, base+"/operations/"+answer.OperationID, nil)
	}
	switch {
	case err != nil:
		return dps.RegistrationState{}, err
	case answer.Registration == nil:
		return dps.RegistrationState{}, fmt.Errorf("no registration state: %+v", answer)
	case answer.Status != "assigned":
		return *answer.Registration, fmt.Errorf("%s: error %d: %s", answer.Status, answer.Registration.ErrorCode, answer.Registration.ErrorMessage)
	}
	return *answer.Registration, nil
}

func (w *world) deviceCall(client *http.Client, method, url string, body any) (registered, error) {
	w.t.Helper()
	data, err := json.Marshal(body)
	w.ok(err)
	if body == nil {
		data = nil
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, url+"?api-version=2021-06-01", bytes.NewReader(data))
	w.ok(err)
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return registered{}, err
	}
	defer answer.Body.Close()
	data, err = io.ReadAll(answer.Body)
	w.ok(err)
	var out registered
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("HTTP %d: %.300s", answer.StatusCode, data)
	}
	if answer.StatusCode >= 400 {
		return out, fmt.Errorf("HTTP %d: error %d: %s", answer.StatusCode, out.ErrorCode, out.Message)
	}
	return out, nil
}
