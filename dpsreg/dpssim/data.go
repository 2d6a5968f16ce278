package dpssim

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// dataVersions are the api-versions of the data plane: the stable ones of the
// specification, and the preview that adds credentialPolicyName. All have the same
// operations here.
var dataVersions = []string{
	"2018-09-01", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01", "2025-07-01-preview",
}

// dataCall is one request of the data plane.
type dataCall struct {
	op      string // as Calls has it
	kind    kind
	id      string // of the enrollment, group or registration
	body    []byte
	ifMatch string
	header  http.Header
	run     func(*Sim, *dataCall) (answer, error)
}

// serveData answers the data plane.
//
// Source: Azure/azure-rest-api-specs, deviceprovisioningservices data-plane, and for the
// statuses https://learn.microsoft.com/azure/iot-dps/how-to-troubleshoot-dps.
func (s *Sim) serveData(w http.ResponseWriter, r *http.Request) {
	if err := s.authorizeData(r); err != nil {
		s.dpsError(http.StatusUnauthorized, codeUnauthorized, "Unauthorized").write(w)
		return
	}
	c, err := readDataCall(w, r)
	if err != nil {
		s.deny(err).write(w)
		return
	}
	s.perform(w, c.op, s.dpsError, func() answer {
		// A bulk call counts as what is in it, and does so itself.
		if !strings.HasSuffix(c.op, ".bulk") && !s.rates.operations(1) {
			return s.tooMany(s.dpsError, codeTooMany)
		}
		a, err := c.run(s, c)
		if err != nil {
			return s.deny(err)
		}
		return a
	})
}

// readDataCall finds the operation of a request and reads its body.
func readDataCall(w http.ResponseWriter, r *http.Request) (*dataCall, error) {
	c, err := routeData(r.Method, r.URL.EscapedPath())
	if err != nil {
		return nil, err
	}
	if v := r.URL.Query().Get("api-version"); !slices.Contains(dataVersions, v) {
		return nil, invalid("api-version %q is none of %s", clip(v, 32), strings.Join(dataVersions, ", "))
	}
	if c.body, err = readBody(w, r); err != nil {
		return nil, invalid("%v", err)
	}
	if len(c.body) > 0 && !isJSON(r.Header) && r.Method != http.MethodGet && r.Method != http.MethodDelete {
		return nil, &denial{status: http.StatusUnsupportedMediaType, code: codeMediaType, message: "the content type must be application/json"}
	}
	c.ifMatch, c.header = r.Header.Get("If-Match"), r.Header
	return c, nil
}

// routeData finds the operation of a method and an escaped path. Azure's own client in
// Node writes enrollmentgroups in lower case, so that case does not count.
func routeData(method, path string) (*dataCall, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil || text == "" {
			return nil, notFound(codeNotFound, "there is no such resource")
		}
		parts[i] = text
	}
	c := &dataCall{}
	collection := ""
	switch strings.ToLower(parts[0]) {
	case "enrollmentgroups":
		collection, c.kind = "enrollmentGroups", kindGroup
	case "enrollments":
		collection, c.kind = "enrollments", kindIndividual
	case "registrations":
		return routeRegistrations(method, parts)
	default:
		return nil, notFound(codeNotFound, "there is no such resource")
	}
	type step func(*Sim, *dataCall) (answer, error)
	set := func(op string, run step) (*dataCall, error) {
		c.op, c.run = collection+"."+op, run
		return c, nil
	}
	switch {
	case len(parts) == 1 && method == http.MethodPost:
		return set("bulk", (*Sim).bulk)
	case len(parts) == 2 && method == http.MethodPost && strings.EqualFold(parts[1], "query"):
		return set("query", (*Sim).queryEnrollments)
	case len(parts) == 3 && method == http.MethodPost && strings.EqualFold(parts[2], "attestationmechanism"):
		c.id = parts[1]
		return set("attestationMechanism", (*Sim).attestationMechanism)
	case len(parts) == 2 && method == http.MethodGet:
		c.id = parts[1]
		return set("get", (*Sim).getEnrollment)
	case len(parts) == 2 && method == http.MethodPut:
		c.id = parts[1]
		return set("put", (*Sim).putEnrollment)
	case len(parts) == 2 && method == http.MethodDelete:
		c.id = parts[1]
		return set("delete", (*Sim).deleteEnrollment)
	}
	return nil, wrongMethod(method, len(parts) <= 3)
}

func routeRegistrations(method string, parts []string) (*dataCall, error) {
	switch {
	case len(parts) == 2 && method == http.MethodGet:
		return &dataCall{op: "registrations.get", id: parts[1], run: (*Sim).getRegistration}, nil
	case len(parts) == 2 && method == http.MethodDelete:
		return &dataCall{op: "registrations.delete", id: parts[1], run: (*Sim).deleteRegistration}, nil
	case len(parts) == 3 && method == http.MethodPost && strings.EqualFold(parts[2], "query"):
		return &dataCall{op: "registrations.query", id: parts[1], run: (*Sim).queryRegistrations}, nil
	}
	return nil, wrongMethod(method, len(parts) <= 3)
}

// wrongMethod is 405, also for a path where "the enrollment or registration Id" is
// missing, as the page on errors says.
func wrongMethod(method string, known bool) error {
	if !known {
		return notFound(codeNotFound, "there is no such resource")
	}
	return &denial{status: http.StatusMethodNotAllowed, code: codeMethod, message: "the resource has no method " + clip(method, 16)}
}

func notFound(code int, message string) error {
	return &denial{status: http.StatusNotFound, code: code, message: message}
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// matches checks If-Match against an etag: 400 for what is no etag ("ETag is invalid":
// Azure/azure-iot-sdk-csharp#3076, without its number), 412 for another one. Etags are
// in quotes, in the header and in bodies (reference of EnrollmentGroup in the SDKs of
// C# and Java); whether Azure takes them without is unknown.
func matches(ifMatch, etag string) error {
	switch {
	case ifMatch == "*" || ifMatch == etag:
		return nil
	case len(ifMatch) < 2 || ifMatch[0] != '"' || strings.IndexByte(ifMatch[1:], '"') != len(ifMatch)-2:
		return invalid("ETag is invalid")
	}
	return &denial{status: http.StatusPreconditionFailed, code: codePrecondition, message: "Precondition failed."}
}
