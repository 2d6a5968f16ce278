package dpsreg

import (
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// TestDecideForeign is about individual enrollments of others that the simulator does not
// take and Azure might.
func TestDecideForeign(t *testing.T) {
	p := newPapers(t)
	c := p.add(1)
	d := standing{device: ledger.Device{ID: "pump-1"}, certificates: p.all}
	blocked := want{RegistrationID: "pump-1", Kind: wantBlocked, Reason: "held", Certificates: p.all}
	pins := want{RegistrationID: "pump-1", Kind: wantPinned, Certificates: p.all, Enrollment: &Enrollment{Name: "pins"}}
	ours := func(information string) *dps.Enrollment {
		return &dps.Enrollment{RegistrationID: "pump-1", Status: dps.Enabled, Information: json.RawMessage(information),
			Attestation: dps.Attestation{Type: "x509", X509: &dps.X509{Client: &dps.Slots{Primary: &dps.Certificate{Info: &dps.Info{SHA256: strings.ToUpper(thumbprint(c))}}}}}}
	}
	with := func(a dps.Attestation) *dps.Enrollment {
		e := ours("")
		e.Attestation = a
		return e
	}
	ca := with(dps.Attestation{Type: "x509", X509: &dps.X509{Signing: &dps.Slots{Primary: &dps.Certificate{Info: &dps.Info{SHA256: "00"}}}}})
	reference := with(dps.Attestation{Type: "x509", X509: &dps.X509{References: &dps.References{Primary: "root"}}})
	off := func(e *dps.Enrollment) *dps.Enrollment {
		copied := *e
		copied.Status = "Disabled"
		return &copied
	}
	for _, tt := range []struct {
		name  string
		want  want
		there *dps.Enrollment
		do    verb
		text  string // of the error or of the note
	}{
		{"blocked, CA", blocked, ca, leave, "error: lets in by CA certificates"},
		{"blocked, reference", blocked, reference, leave, "error: lets in by CA certificates"},
		{"blocked, CA, disabled", blocked, off(ca), leave, ""},
		{"blocked, empty slots", blocked, with(dps.Attestation{Type: "x509", X509: &dps.X509{Client: &dps.Slots{Primary: &dps.Certificate{}}}}), leave, "error: does not show"},
		{"blocked, TPM", blocked, with(dps.Attestation{Type: "tpm"}), leave, ""},
		{"blocked, information that is no object", blocked, ours(`["a"]`), update, "a release will not enable it"},
		{"pinned, TPM", pins, with(dps.Attestation{Type: "tpm"}), leave, "error: by other means"},
		{"pinned, CA", pins, ca, leave, "error: by other means"},
		{"pinned, its certificate in upper case", pins, ours(""), leave, ""},
	} {
		s, err := d.decide(tt.want, tt.there)
		text := s.note
		if err != nil {
			text = "error: " + err.Error()
		}
		wantText, wantError := strings.CutPrefix(tt.text, "error: ")
		if s.do != tt.do || (err != nil) != wantError || !strings.Contains(text, wantText) || tt.text == "" && text != "" {
			t.Errorf("%s: %d, %q", tt.name, s.do, text)
		}
		if s.do == update && !disabled(s.enrollment) {
			t.Errorf("%s: it is not disabled", tt.name)
		}
	}
}

// TestDecideOnce: what a step leads to wants no other step.
func TestDecideOnce(t *testing.T) {
	p := newPapers(t)
	older := p.add(9)
	newer := p.add(1, byCertificate(older.Serial))
	d := standing{device: ledger.Device{ID: "Pump 1", Fields: map[string]string{"mac": "00"}}, certificates: p.all}
	e := &Enrollment{Name: "pins", DeviceID: "${field.mac}", Shape: Shape{Edge: true, Tags: map[string]any{"a": 1, "b": map[string]any{"c": "${field.mac}"}}, Desired: map[string]any{"x": 1.5}}}
	wants := []want{
		{RegistrationID: "pump-1"},
		{RegistrationID: "pump-1", Kind: wantBlocked, Reason: "held", Certificates: []ledger.Certificate{newer, older}},
		{RegistrationID: "pump-1", Kind: wantPinned, Certificates: []ledger.Certificate{newer, older}, Enrollment: e},
		{RegistrationID: "pump-1", Kind: wantPinned, Certificates: []ledger.Certificate{newer}, Enrollment: e},
		{RegistrationID: "pump-1", Kind: wantKept, Enrollment: e},
	}
	for _, first := range wants {
		for _, second := range wants {
			var there *dps.Enrollment
			for i, w := range []want{first, second, second} {
				s, err := d.decide(w, there)
				if err != nil {
					t.Fatal(err)
				}
				if i == 2 && s.do != leave {
					t.Errorf("%v after %v: %d %q once more", second.Kind, first.Kind, s.do, s.what)
				}
				switch s.do {
				case create, update:
					there = shown(t, s.enrollment)
				case remove:
					there = nil
				}
			}
			lives := there != nil && !disabled(*there)
			if wanted := second.Kind == wantPinned || second.Kind == wantKept && first.Kind == wantPinned || second.Kind == wantKept && first.Kind == wantBlocked; lives != wanted {
				t.Errorf("%v after %v: lets in: %v", second.Kind, first.Kind, lives)
			}
		}
	}
}

// shown is an enrollment as the service shows it: through JSON, and with thumbprints in
// the place of certificates.
func shown(t *testing.T, e dps.Enrollment) *dps.Enrollment {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var out dps.Enrollment
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*dps.Certificate{out.Attestation.X509.Client.Primary, out.Attestation.X509.Client.Secondary} {
		if c != nil && c.Certificate != "" {
			c.Info, c.Certificate = &dps.Info{SHA256: thumbprint(ledger.Certificate{DER: decoded(t, c.Certificate)})}, ""
		}
	}
	return &out
}

func decoded(t *testing.T, text string) []byte {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) > 0 {
		t.Fatalf("%q is not one certificate", text)
	}
	return block.Bytes
}
