package dpssim

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// deviceVersions are the api-versions of the device API that are seen in the wild.
var deviceVersions = []string{
	"2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01",
	"2025-07-01-preview", "2026-11-01", "2026-11-15-preview",
}

// serveDevice answers the device API over HTTPS, which authenticates by the chain that
// was presented in TLS, on each request.
//
// Source: Azure/azure-rest-api-specs, deviceprovisioningservices data-plane, RuntimeRegistration.
func (s *Sim) serveDevice(w http.ResponseWriter, r *http.Request) {
	op, operation, c, err := routeDevice(r.Method, r.URL.EscapedPath())
	if err == nil {
		c.apiVersion = r.URL.Query().Get("api-version")
		err = checkVersion(c.apiVersion)
	}
	if err != nil {
		s.deny(err).write(w)
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		s.deny(invalid("%v", err)).write(w)
		return
	}
	if op == opRegister && !isJSON(r.Header) {
		s.deny(&denial{status: http.StatusUnsupportedMediaType, code: codeMediaType, message: "the content type must be application/json"}).write(w)
		return
	}
	c.chain = r.TLS.PeerCertificates
	s.perform(w, op, s.dpsError, func() answer {
		a, err := s.answerDevice(op, c, operation, body)
		if err == nil && op == opRegister {
			if o, ok := a.body.(operationStatus); ok {
				a = a.with("Location", "https://"+hostOf(r)+strings.TrimSuffix(r.URL.EscapedPath(), "register")+"operations/"+o.Operation+"?api-version="+url.QueryEscape(c.apiVersion))
			}
		}
		if err != nil {
			a = s.deny(err)
		}
		return a
	})
}

// Operations of devices, as Calls has them.
const (
	opRegister  = "devices.register"
	opOperation = "devices.operation"
	opLookup    = "devices.lookup"
)

// answerDevice does what a device asks for, over HTTPS or MQTT.
func (s *Sim) answerDevice(op string, c deviceCall, operation string, body []byte) (answer, error) {
	switch op {
	case opRegister:
		return s.register(c, body)
	case opOperation:
		return s.poll(c, operation)
	default:
		return s.lookup(c)
	}
}

// routeDevice reads a path of the device API: /{idScope}/registrations/{registrationId}
// and below it register and operations/{operationId}.
func routeDevice(method, path string) (op, operation string, c deviceCall, err error) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, p := range parts {
		if parts[i], err = url.PathUnescape(p); err != nil || parts[i] == "" {
			return "", "", c, notFound(codeNotFound, "there is no such resource")
		}
	}
	if len(parts) < 3 || parts[1] != "registrations" {
		return "", "", c, notFound(codeNotFound, "there is no such resource")
	}
	c.scope, c.registrationID = parts[0], parts[2]
	want := ""
	switch {
	case len(parts) == 3:
		op, want = opLookup, http.MethodPost
	case len(parts) == 4 && parts[3] == "register":
		op, want = opRegister, http.MethodPut
	case len(parts) == 5 && parts[3] == "operations":
		op, want, operation = opOperation, http.MethodGet, parts[4]
	default:
		return "", "", c, notFound(codeNotFound, "there is no such resource")
	}
	if method != want {
		return "", "", c, wrongMethod(method, true)
	}
	return op, operation, c, nil
}

func checkVersion(v string) error {
	if !slices.Contains(deviceVersions, v) {
		return invalid("api-version %q is none of %s", clip(v, 32), strings.Join(deviceVersions, ", "))
	}
	return nil
}
