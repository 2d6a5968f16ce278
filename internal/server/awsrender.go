package server

import (
	"errors"
	"fmt"
	"os"

	"mintmark/awsreg"
	"mintmark/awsreg/render"
)

// Render makes the stacks and documents of a target.
func (t *awsTargets) Render(name string, code render.Code) ([]render.File, error) {
	target, err := t.find(name)
	if err != nil {
		return nil, err
	}
	in := render.Input{Target: target, Code: code}
	for _, ca := range target.CAs {
		if ca.Use != awsreg.UseJITR || ca.State == awsreg.StateInactive || ca.State == awsreg.StateDeleted {
			continue
		}
		certificate, err := t.s.certificateOf(ca.Issuer)
		if err != nil {
			return nil, err
		}
		in.CAs = append(in.CAs, awsreg.CertificateID(certificate.Raw))
	}
	anchor, err := os.ReadFile(t.s.config.Path("root.pem"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the trust anchor: %w", err)
	}
	for _, c := range t.s.config.AWS.Targets {
		if c.Name != name {
			continue
		}
		if p := c.Provider; p != nil {
			in.Provider = render.Provider{URL: p.URL, Label: p.Label, Secret: p.Secret, CA: string(anchor)}
		}
		if i := c.Ingest; i != nil {
			in.Ingest = &render.Ingest{Bucket: i.Bucket, Rule: i.Rule, Topic: i.Topic}
		}
		if b := c.Callback; b != nil {
			in.Callback = &render.Callback{Domain: b.Domain, Function: b.Function, CRLs: b.CRLs, OCSP: b.OCSP, Anchors: string(anchor)}
		}
	}
	return render.Files(in)
}
