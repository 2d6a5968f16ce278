package adminhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// ErrNotHere says that a target does not let a certificate in.
var ErrNotHere = errors.New("the certificate's issuing CA is none of the target's")

// Connection is where and as what a device connects.
type Connection struct {
	Thing    string
	Endpoint string
	Region   string
	Mode     string // of the issuing CA's registration
}

// connection says how a device connects with its newest certificate in force.
func (h *handler) connection(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	id, err := deviceID(r)
	if err != nil {
		return err
	}
	device, err := h.Ledger.Device(r.Context(), id)
	if errors.Is(err, ledger.ErrNotFound) {
		return unknownDevice(id)
	}
	if err != nil {
		return err
	}
	page, err := h.Ledger.Certificates(r.Context(), ledger.Query{Device: id, Purpose: ledger.ForDevice, State: ledger.Valid, ExpiresAfter: h.RA.Now(), Limit: admin.MaxPage})
	if err != nil {
		return err
	}
	why := fail(http.StatusConflict, "certificate", "device %q has no certificate in force: it enrolls first", id)
	for _, c := range slices.Backward(page.Certificates) {
		if !c.InForce(h.RA.Now()) {
			continue
		}
		found, err := h.AWS.Connection(r.Context(), name, device, c)
		if errors.Is(err, ErrNotHere) {
			why = fail(http.StatusConflict, "certificate", "device %q has certificates in force, and none is from an issuing CA of target %q", id, name)
			continue
		}
		if err != nil {
			return fromAWS(err)
		}
		return h.answerConnection(w, name, device, c, found)
	}
	return why
}

func (h *handler) answerConnection(w http.ResponseWriter, target string, device ledger.Device, c ledger.Certificate, found Connection) error {
	out := admin.AWSConnection{
		Target: target, Region: found.Region, Device: device.ID, Thing: found.Thing, Endpoint: found.Endpoint, Mode: found.Mode,
		Serial: string(c.Serial), CertificateID: awsreg.CertificateID(c.DER), Certificate: encodePEM("CERTIFICATE", c.DER), NotAfter: c.NotAfter.UTC(),
	}
	authority, err := h.RA.Authority(c.Issuer)
	if err != nil {
		return err
	}
	out.Chain = encodePEM("CERTIFICATE", authority.Certificate().Raw)
	if above := authority.Chain(); len(above) > 1 { // the last is the trust anchor
		for _, one := range above[:len(above)-1] {
			out.Chain += encodePEM("CERTIFICATE", one.Raw)
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// bulkAWS streams the input of a bulk registration: once the first line is out,
// an error is the last line.
func (h *handler) bulkAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	p := query(r, "order", "issuer", "template")
	q := ledger.Query{Order: p.text("order"), Issuer: p.text("issuer"), Purpose: ledger.ForDevice, State: ledger.Valid}
	if p.oneOf("template", "only") != "" {
		q.ExpiresBefore = time.Unix(1, 0) // no certificate of ours
	}
	if p.err != nil {
		return p.err
	}
	if q.Order != "" {
		if _, err := h.Ledger.Order(r.Context(), q.Order); err != nil {
			return fromOrder(err, q.Order)
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	stream := &ndjson{encoder: json.NewEncoder(w), flush: http.NewResponseController(w)}
	things := &thingLines{send: func(line json.RawMessage) error {
		stream.send(admin.AWSBulkLine{Thing: line})
		return stream.err
	}}
	bulk, err := h.AWS.Bulk(r.Context(), name, q, things)
	if err == nil {
		err = things.end()
	}
	if err != nil {
		refusal := fromAWS(err)
		stream.send(admin.AWSBulkLine{Error: &admin.Error{Rule: refusal.rule, Text: refusal.text, RequestID: w.Header().Get("X-Request-Id")}})
		return refusal
	}
	stream.send(admin.AWSBulkLine{Done: &admin.AWSBulk{Template: json.RawMessage(bulk.Template), Things: bulk.Things}})
	return stream.err
}

// maxThing bounds one line: AWS takes 256 KB.
// https://docs.aws.amazon.com/iot/latest/developerguide/bulk-provisioning.html
const maxThing = 256 << 10

// thingLines cuts what is written to it into lines and sends each.
type thingLines struct {
	send func(json.RawMessage) error
	rest []byte
}

func (t *thingLines) Write(p []byte) (int, error) {
	t.rest = append(t.rest, p...)
	for {
		line, rest, ok := bytes.Cut(t.rest, []byte("\n"))
		if !ok {
			break
		}
		if err := t.line(line); err != nil {
			return 0, err
		}
		t.rest = rest
	}
	if len(t.rest) > maxThing {
		return 0, errors.New("a line of the bulk registration is longer than the 256 KB that AWS takes")
	}
	t.rest = bytes.Clone(t.rest)
	return len(p), nil
}

func (t *thingLines) line(line []byte) error {
	switch {
	case len(bytes.TrimSpace(line)) == 0:
		return nil
	case len(line) > maxThing:
		return errors.New("a line of the bulk registration is longer than the 256 KB that AWS takes")
	case !json.Valid(line):
		return errors.New("a line of the bulk registration is not JSON")
	}
	return t.send(line)
}

// end sends what has no line end.
func (t *thingLines) end() error { return t.line(t.rest) }
