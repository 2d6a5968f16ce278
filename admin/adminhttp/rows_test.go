package adminhttp_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// row is one thing that the API does.
type row struct {
	pattern   string
	operation access.Operation
	also      access.Operation // which the caller needs besides
	// prepare makes what the request needs, under a name that nothing has yet,
	// and says how to see whether it was done; nil for what changes nothing.
	prepare func(t *testing.T, p *people, caller, name string) (in wire, happened func() bool)
	reads   bool
}

// changes reports whether the row does something that can be seen afterwards.
func (r row) changes() bool { return !r.reads }

// reading is a row that changes nothing.
func reading(pattern string, operation access.Operation, path string) row {
	return row{pattern: pattern, operation: operation, reads: true, prepare: func(*testing.T, *people, string, string) (wire, func() bool) {
		return wire{path: path}, nil
	}}
}

// changing is a row that does something.
func changing(pattern string, operation access.Operation, prepare func(t *testing.T, p *people, caller, name string) (wire, func() bool)) row {
	return row{pattern: pattern, operation: operation, prepare: prepare}
}

// newName is a name that nothing has yet.
func newName() string { return rand.Text()[:20] }

var none = struct{}{}

// matrix has every route, and every operation that is asked for inside of one.
var matrix = slices.Concat(rotationRows, []row{
	reading("GET /v1/status", access.StatusRead, "/v1/status"),
	reading("GET /v1/authorities", access.AuthorityRead, "/v1/authorities"),
	reading("GET /v1/authorities/{name}", access.AuthorityRead, "/v1/authorities/root"),
	reading("GET /v1/authorities/{name}/crl", access.AuthorityRead, "/v1/authorities/issuing/crl"),
	reading("GET /v1/certificates", access.CertificateRead, "/v1/certificates"),
	reading("GET /v1/devices", access.DeviceRead, "/v1/devices"),
	reading("GET /v1/refusals", access.RefusalRead, "/v1/refusals"),
	reading("GET /v1/renewals", access.RefusalRead, "/v1/renewals"),
	reading("GET /v1/renewals/overdue", access.RefusalRead, "/v1/renewals/overdue"),
	reading("GET /v1/orders", access.OrderRead, "/v1/orders"),
	reading("GET /v1/aws/targets", access.CloudRead, "/v1/aws/targets"),
	reading("GET /v1/aws/targets/{name}/plan", access.CloudRead, "/v1/aws/targets/line-a/plan"),
	reading("GET /v1/aws/targets/{name}/status", access.CloudRead, "/v1/aws/targets/line-a/status"),
	reading("GET /v1/aws/targets/{name}/iam-policy", access.CloudRead, "/v1/aws/targets/line-a/iam-policy"),
	reading("GET /v1/aws/targets/{name}/files", access.CloudRead, "/v1/aws/targets/line-a/files?bucket=code"),
	reading("GET /v1/aws/targets/{name}/doctor", access.CloudRead, "/v1/aws/targets/line-a/doctor"),
	reading("GET /v1/aws/targets/{name}/drift", access.CloudRead, "/v1/aws/targets/line-a/drift"),
	reading("GET /v1/aws/targets/{name}/bulk", access.CloudRead, "/v1/aws/targets/line-a/bulk"),
	reading("GET /v1/azure/targets", access.CloudRead, "/v1/azure/targets"),
	reading("GET /v1/azure/targets/{name}/plan", access.CloudRead, "/v1/azure/targets/plant/plan"),
	reading("GET /v1/azure/targets/{name}/status", access.CloudRead, "/v1/azure/targets/plant/status"),
	reading("GET /v1/azure/targets/{name}/drift", access.CloudRead, "/v1/azure/targets/plant/drift"),
	reading("GET /v1/azure/targets/{name}/bundle", access.CloudApply, "/v1/azure/targets/plant/bundle"),
	reading("GET /v1/principals", access.PrincipalRead, "/v1/principals"),
	reading("GET /v1/principals/{name}", access.PrincipalRead, "/v1/principals/alice"),
	reading("GET /v1/enrollments", access.EnrollmentRead, "/v1/enrollments"),
	reading("GET /v1/rollovers", access.AuthorityRead, "/v1/rollovers"),
	reading("GET /v1/approvals", access.ApprovalRead, "/v1/approvals"),
	reading("GET /v1/hsm", access.HSMRead, "/v1/hsm"),
	reading("GET /v1/batches/check", access.CertificateIssue, "/v1/batches/check?profile=device&issuer=issuing"),
	changing("POST /v1/hsm/{name}/unlock", access.HSMUnlock, func(_ *testing.T, p *people, _, name string) (wire, func() bool) {
		in := admin.HSMUnlock{PIN: []byte(name)}
		return wire{path: "/v1/hsm/factory/unlock", body: in}, func() bool { return p.box.got(name) }
	}),
	changing("POST /v1/hsm/{name}/unlock", access.HSMUnlockFinal, func(_ *testing.T, p *people, _, name string) (wire, func() bool) {
		in := admin.HSMUnlock{PIN: []byte(name), FinalTry: true}
		return wire{path: "/v1/hsm/factory/unlock", body: in}, func() bool { return p.box.got(name) }
	}),
	{pattern: "POST /v1/aws/targets/{name}/apply", operation: access.CloudApply, reads: true, prepare: func(*testing.T, *people, string, string) (wire, func() bool) {
		return wire{path: "/v1/aws/targets/line-a/apply", body: none}, nil
	}},
	changing("POST /v1/aws/targets/{name}/apply", access.CloudRetire, func(_ *testing.T, p *people, _, _ string) (wire, func() bool) {
		before := p.cloud.retirements()
		return wire{path: "/v1/aws/targets/line-r/apply", body: none}, func() bool { return p.cloud.retirements() > before }
	}),
	changing("POST /v1/aws/targets/{name}/reconcile", access.CloudApply, func(_ *testing.T, p *people, _, _ string) (wire, func() bool) {
		p.cloud.mu.Lock()
		p.cloud.drift = nil
		p.cloud.mu.Unlock()
		return wire{path: "/v1/aws/targets/line-f/reconcile", body: none}, func() bool { _, ok, _ := p.cloud.Drift("line-f"); return ok }
	}),
	{pattern: "POST /v1/aws/targets/{name}/reconcile", operation: access.CloudApply, also: access.CertificateRevoke,
		prepare: func(_ *testing.T, p *people, _, _ string) (wire, func() bool) {
			adopted := func() int {
				p.cloud.mu.Lock()
				defer p.cloud.mu.Unlock()
				return len(p.cloud.adopted)
			}
			before := adopted()
			return wire{path: "/v1/aws/targets/line-f/reconcile", body: admin.AWSReconcile{Adopt: true}}, func() bool { return adopted() > before }
		}},
	{pattern: "POST /v1/azure/targets/{name}/apply", operation: access.CloudApply, reads: true, prepare: func(*testing.T, *people, string, string) (wire, func() bool) {
		return wire{path: "/v1/azure/targets/plant/apply", body: none}, nil
	}},
	changing("POST /v1/azure/targets/{name}/apply", access.CloudRetire, func(_ *testing.T, p *people, _, _ string) (wire, func() bool) {
		retired := func(c *azure) int { return c.retired }
		before := p.azure.count(retired)
		return wire{path: "/v1/azure/targets/plant-r/apply", body: none}, func() bool { return p.azure.count(retired) > before }
	}),
	changing("POST /v1/azure/targets/{name}/reconcile", access.CloudApply, func(_ *testing.T, p *people, _, _ string) (wire, func() bool) {
		p.azure.mu.Lock()
		p.azure.drift = nil
		p.azure.mu.Unlock()
		return wire{path: "/v1/azure/targets/plant/reconcile", body: none}, func() bool { _, ok, _ := p.azure.Drift("plant"); return ok }
	}),
	{pattern: "POST /v1/azure/targets/{name}/bulk", operation: access.CloudApply, reads: true, prepare: func(*testing.T, *people, string, string) (wire, func() bool) {
		return wire{path: "/v1/azure/targets/plant/bulk", body: admin.AzureBulk{Profile: "device"}}, nil
	}},
	changing("POST /v1/azure/targets/{name}/prove", access.CloudApply, func(_ *testing.T, p *people, _, name string) (wire, func() bool) {
		proofs := func(c *azure) int { return len(c.proved) }
		before := p.azure.count(proofs)
		return wire{path: "/v1/azure/targets/plant/prove", body: proofRequest("plant", name)}, func() bool { return p.azure.count(proofs) > before }
	}),
	{pattern: "GET /v1/aws/targets/{name}/claims", operation: access.CloudRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.fleetOrder(t, name)
		return wire{path: "/v1/aws/targets/line-f/claims", query: "?order=" + name}, nil
	}},
	changing("POST /v1/aws/targets/{name}/claims", access.OrderExtend, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.fleetOrder(t, name)
		in := admin.AWSClaimRequest{Order: name, CSR: claimCSR(t), AWSIssued: true}
		return wire{path: "/v1/aws/targets/line-f/claims", body: in}, func() bool {
			list, _, _ := p.cloud.Claims(t.Context(), "line-f", name)
			return len(list) > 0
		}
	}),
	{pattern: "GET /v1/aws/targets/{name}/devices/{id}/connection", operation: access.DeviceRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.certificate(t, name)
		return wire{path: "/v1/aws/targets/line-f/devices/" + name + "/connection"}, nil
	}},
	{pattern: "GET /v1/certificates/{serial}", operation: access.CertificateRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/certificates/" + string(p.certificate(t, name))}, nil
	}},
	{pattern: "GET /v1/devices/{id}", operation: access.DeviceRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.certificate(t, name)
		return wire{path: "/v1/devices/" + name}, nil
	}},
	{pattern: "GET /v1/orders/{id}", operation: access.OrderRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.order(t, name)
		return wire{path: "/v1/orders/" + name}, nil
	}},
	{pattern: "GET /v1/enrollments/{id}", operation: access.EnrollmentRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/enrollments/" + p.queued(t, name).ID}, nil
	}},
	{pattern: "GET /v1/approvals/{id}", operation: access.ApprovalRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/approvals/" + p.proposal(t, name).ID}, nil
	}},

	changing("POST /v1/authorities", access.AuthorityCreate, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		spec := admin.AuthoritySpec{Name: name, Issuer: "root", Subject: admin.Name{CommonName: name}, ValiditySeconds: 86400}
		return wire{path: "/v1/authorities", body: spec}, func() bool { return p.hasAuthority(name) }
	}),
	changing("POST /v1/authorities/{name}/csr", access.AuthorityCreate, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		spec := admin.AuthoritySpec{Name: name, Subject: admin.Name{CommonName: name}}
		return wire{path: "/v1/authorities/" + name + "/csr", body: spec}, func() bool {
			for _, a := range p.ra.Waiting() {
				if a.Name == name {
					return true
				}
			}
			return false
		}
	}),
	changing("PUT /v1/authorities/{name}/certificate", access.AuthorityCreate, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		text := string(pkitest.PEM("CERTIFICATE", elsewhere(t).Raw))
		return wire{path: "/v1/authorities/" + name + "/certificate", body: admin.AuthorityImport{Certificates: text}}, func() bool { return p.hasAuthority(name) }
	}),
	changing("POST /v1/authorities/{name}/crl", access.CRLPublish, func(t *testing.T, p *people, _, _ string) (wire, func() bool) {
		number := func() int64 {
			crl, err := p.ra.Ledger.LatestCRL(t.Context(), "issuing", 0)
			if err != nil {
				t.Fatal(err)
			}
			return crl.Number
		}
		before := number()
		return wire{path: "/v1/authorities/issuing/crl"}, func() bool { return number() != before }
	}),
	changing("PUT /v1/authorities/{name}/crl", access.CRLPublish, func(t *testing.T, p *people, _, _ string) (wire, func() bool) {
		anchor := elsewhere(t)
		if !p.hasAuthority("elsewhere") {
			if _, err := p.ra.ImportAuthority(t.Context(), "elsewhere", []*x509.Certificate{anchor}, ""); err != nil {
				t.Fatal(err)
			}
		}
		number := func() int64 {
			crl, err := p.ra.Ledger.LatestCRL(t.Context(), "elsewhere", 0)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				t.Fatal(err)
			}
			return crl.Number
		}
		before := number()
		text := string(pkitest.PEM("X509 CRL", listElsewhere(t, before+1)))
		return wire{path: "/v1/authorities/elsewhere/crl", body: admin.CRLImport{Content: text}}, func() bool { return number() != before }
	}),
	changing("POST /v1/certificates", access.CertificateIssue, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/certificates", body: admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, name)}}, func() bool {
			_, err := p.ra.Ledger.Device(t.Context(), name)
			return err == nil
		}
	}),
	changing("POST /v1/batches/{id}/certificates", access.CertificateIssue, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		der := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name})
		in := admin.Batch{Profile: "device", Issuer: "issuing", Items: []admin.BatchItem{{CSR: der}}}
		return wire{path: "/v1/batches/" + batchName(name) + "/certificates", body: in}, func() bool {
			_, err := p.ra.Ledger.Device(t.Context(), name)
			return err == nil
		}
	}),
	changing("POST /v1/batches/{id}/manifest", access.CertificateIssue, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		serial := p.certificate(t, name)
		id := batchName(name)
		return wire{path: "/v1/batches/" + id + "/manifest", body: p.manifest(t, id, serial), media: admin.MediaNDJSON}, func() bool {
			page, err := p.ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForManifest, Limit: 1000})
			return err == nil && slices.ContainsFunc(page.Certificates, func(c ledger.Certificate) bool { return c.Subject == "CN=Manifest "+id })
		}
	}),
	changing("POST /v1/certificates", access.ServerIssue, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		request := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name})
		in := admin.Issue{Profile: "server", Issuer: "issuing", CSR: string(pkitest.PEM("CERTIFICATE REQUEST", request))}
		return wire{path: "/v1/certificates", body: in}, func() bool {
			page, err := p.ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForServer, Limit: 1000})
			return err == nil && slices.ContainsFunc(page.Certificates, func(c ledger.Certificate) bool { return c.Subject == "CN="+name })
		}
	}),
	changing("POST /v1/certificates", access.RAIssue, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		request := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name})
		in := admin.Issue{Profile: "ra", Issuer: "issuing", CSR: string(pkitest.PEM("CERTIFICATE REQUEST", request))}
		return wire{path: "/v1/certificates", body: in}, func() bool {
			page, err := p.ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForRA, Limit: 1000})
			return err == nil && slices.ContainsFunc(page.Certificates, func(c ledger.Certificate) bool { return c.Subject == "CN="+name })
		}
	}),
	changing("POST /v1/rollovers", access.AuthorityRollover, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.root(t, name, 30)
		return wire{path: "/v1/rollovers", body: admin.RolloverSpec{Old: "root", New: name}}, func() bool { return p.rolls(t, name) }
	}),
	changing("POST /v1/rollovers/end", access.AuthorityRollover, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.root(t, name, 30)
		if _, err := p.ra.BeginRollover(t.Context(), "root", name, false, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
			t.Fatal(err)
		}
		return wire{path: "/v1/rollovers/end", body: admin.RolloverEnd{Old: "root", New: name}}, func() bool { return !p.rolls(t, name) }
	}),
	{pattern: "GET /v1/rotations/{id}/devices", operation: access.RotationRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.rotating(t, name, ledger.RotateRoot, rotation.Distributing)
		return wire{path: "/v1/rotations/" + name + "/devices"}, nil
	}},
	{pattern: "GET /v1/rotations/{id}/bundle", operation: access.RotationRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.rotating(t, name, ledger.RotateRoot, rotation.Distributing)
		return wire{path: "/v1/rotations/" + name + "/bundle", query: "?trust=both"}, nil
	}},
	changing("POST /v1/rotations/{id}/waivers", access.RotationWaive, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.rotating(t, name, ledger.RotateRoot, rotation.Distributing)
		p.certificate(t, name)
		in := admin.Waiver{Devices: []string{name}, Reason: "test"}
		return wire{path: "/v1/rotations/" + name + "/waivers", body: in}, func() bool { return !p.noted(t, name).Waived.IsZero() }
	}),
	changing("POST /v1/rotations/{id}/reports", access.RotationReport, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.rotating(t, name, ledger.RotateRoot, rotation.Distributing)
		p.certificate(t, name)
		in := admin.AnchorReport{Devices: []admin.ReportedDevice{{Device: name}}}
		return wire{path: "/v1/rotations/" + name + "/reports", body: in}, func() bool { return !p.noted(t, name).Trusts.IsZero() }
	}),
	changing("POST /v1/certificates/import", access.CertificateImport, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		anchor := elsewhere(t)
		if !p.hasAuthority("elsewhere") {
			if _, err := p.ra.ImportAuthority(t.Context(), "elsewhere", []*x509.Certificate{anchor}, ""); err != nil {
				t.Fatal(err)
			}
		}
		text := string(pkitest.PEM("CERTIFICATE", signedElsewhere(t, name)))
		return wire{path: "/v1/certificates/import", query: "?profile=device", body: text, media: admin.MediaPEM}, func() bool {
			_, err := p.ra.Ledger.Device(t.Context(), name)
			return err == nil
		}
	}),
	changing("POST /v1/revocations", access.CertificateRevoke, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		serial := p.certificate(t, name)
		return wire{path: "/v1/revocations", body: admin.Revocation{Serial: string(serial)}}, func() bool { return p.revoked(t, serial) }
	}),
	changing("POST /v1/revocations", access.BulkRevoke, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		serials := []ledger.Serial{p.certificate(t, name), p.certificate(t, name), p.certificate(t, name)}
		return wire{path: "/v1/revocations", body: admin.Revocation{Device: name, Reason: "keyCompromise"}}, func() bool {
			return p.revoked(t, serials[0]) || p.revoked(t, serials[1]) || p.revoked(t, serials[2])
		}
	}),
	changing("POST /v1/revocations", access.AuthorityRevoke, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		// A rotation may have been left running at "root", below which no CA is made then.
		if !p.hasAuthority("spare-root") {
			p.root(t, "spare-root", 20)
		}
		serial := p.authority(t, name, "spare-root")
		return wire{path: "/v1/revocations", body: admin.Revocation{Serial: string(serial), Authority: true}}, func() bool { return p.revoked(t, serial) }
	}),

	changing("POST /v1/devices/imports", access.DeviceImport, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/devices/imports", body: "device\n" + name + "\n", media: admin.MediaCSV}, func() bool {
			d, err := p.ra.Ledger.Device(t.Context(), name)
			return err == nil && d.Listed
		}
	}),
	changing("POST /v1/devices/{id}/hold", access.DeviceHold, device("/hold", "", ledger.Held)),
	changing("POST /v1/devices/{id}/release", access.DeviceHold, device("/release", ledger.Held, ledger.Enrolled)),
	changing("POST /v1/devices/{id}/retire", access.DeviceRetire, device("/retire", "", ledger.Retired)),

	changing("POST /v1/secrets", access.SecretChange, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/secrets", body: admin.SecretSpec{Devices: []string{name}}}, func() bool { return p.hasSecret(t, name) }
	}),
	changing("PUT /v1/secrets", access.SecretChange, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		in := admin.SecretImport{Secrets: []admin.DeviceSecret{{Device: name, Secret: newName()}}}
		return wire{path: "/v1/secrets", body: in}, func() bool { return p.hasSecret(t, name) }
	}),
	changing("DELETE /v1/devices/{id}/secret", access.SecretChange, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		secret := ledger.DeviceSecret{Device: name, SHA256: sha256.Sum256([]byte(name)), At: time.Now(), Actor: "test", ExpiresAt: time.Now().Add(time.Hour)}
		if err := p.ra.Ledger.PutSecrets(t.Context(), []ledger.DeviceSecret{secret}); err != nil {
			t.Fatal(err)
		}
		return wire{path: "/v1/devices/" + name + "/secret"}, func() bool { return !p.hasSecret(t, name) }
	}),
	changing("POST /v1/enrollments/{id}/approve", access.EnrollmentDecide, enrollment("/approve", ledger.EnrollmentApproved)),
	changing("POST /v1/enrollments/{id}/reject", access.EnrollmentDecide, enrollment("/reject", ledger.EnrollmentRejected)),

	changing("POST /v1/orders", access.OrderCreate, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		spec := admin.OrderSpec{ID: name, Label: "line", Quantity: 10, NotAfter: time.Now().Add(time.Hour)}
		return wire{path: "/v1/orders", body: spec}, func() bool {
			_, err := p.ra.Ledger.Order(t.Context(), name)
			return err == nil
		}
	}),
	changing("PATCH /v1/orders/{id}", access.OrderExtend, order("", admin.OrderWindow{NotAfter: time.Now().Add(48 * time.Hour)},
		func(before, after ledger.Order) bool { return !after.NotAfter.Equal(before.NotAfter) })),
	changing("PUT /v1/orders/{id}/quantity", access.OrderRaise, order("/quantity", admin.OrderQuantity{Quantity: 20},
		func(_, after ledger.Order) bool { return after.Quantity != 10 })),
	changing("POST /v1/orders/{id}/secret", access.OrderExtend, order("/secret", none,
		func(before, after ledger.Order) bool { return before.Secret != after.Secret })),
	changing("POST /v1/orders/{id}/claim", access.OrderExtend, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.order(t, name)
		return wire{path: "/v1/orders/" + name + "/claim", body: admin.ClaimRequest{CSR: csr(t, name)}}, func() bool {
			page, err := p.ra.Ledger.Certificates(t.Context(), ledger.Query{Order: name, Purpose: ledger.ForClaim})
			return err == nil && len(page.Certificates) > 0
		}
	}),
	changing("POST /v1/orders/{id}/close", access.OrderClose, order("/close", none,
		func(_, after ledger.Order) bool { return after.State != ledger.OrderOpen })),
	changing("POST /v1/orders/{id}/kill", access.OrderKill, order("/kill", none,
		func(_, after ledger.Order) bool { return after.State != ledger.OrderOpen })),

	changing("POST /v1/principals", access.PrincipalChange, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		spec := admin.PrincipalSpec{Name: name, Roles: []string{"auditor"}, UnixUser: name}
		return wire{path: "/v1/principals", body: spec}, func() bool { _, ok := p.find(t, name); return ok }
	}),
	changing("PUT /v1/principals/{name}", access.PrincipalChange, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.add(t, name, access.Auditor, false)
		spec := admin.PrincipalSpec{Name: name, Roles: []string{"auditor", "operator"}, UnixUser: name}
		return wire{path: "/v1/principals/" + name, body: spec}, func() bool { one, _ := p.find(t, name); return len(one.Roles) != 1 }
	}),
	changing("DELETE /v1/principals/{name}", access.PrincipalChange, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.add(t, name, access.Auditor, false)
		return wire{path: "/v1/principals/" + name}, func() bool { _, ok := p.find(t, name); return !ok }
	}),
	changing("POST /v1/principals/{name}/certificate", access.PrincipalEnroll, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		one := p.add(t, name, access.Auditor, true)
		der := pkitest.CSR(t, p.signers[name], pkix.Name{CommonName: name})
		in := admin.PrincipalEnroll{CSR: string(pkitest.PEM("CERTIFICATE REQUEST", der))}
		return wire{path: "/v1/principals/" + name + "/certificate", body: in}, func() bool {
			page, err := p.ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForOfficer, Key: sha256.Sum256(one.Key)})
			return err == nil && len(page.Certificates) > 0
		}
	}),

	changing("POST /v1/approvals/{id}/approve", access.ApprovalDecide, func(t *testing.T, p *people, caller, name string) (wire, func() bool) {
		a := p.proposal(t, name)
		signature, err := access.Sign(p.signers[caller], access.Statement(a))
		if err != nil {
			t.Fatal(err)
		}
		return wire{path: "/v1/approvals/" + a.ID + "/approve", body: admin.Signature{Signature: signature}}, func() bool { return p.state(t, a) != ledger.Pending }
	}),
	changing("POST /v1/approvals/{id}/reject", access.ApprovalDecide, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		a := p.proposal(t, name)
		return wire{path: "/v1/approvals/" + a.ID + "/reject", body: none}, func() bool { return p.state(t, a) != ledger.Pending }
	}),
	{pattern: "POST /v1/approvals/{id}/run", operation: access.ApprovalRead, also: access.PrincipalChange, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		a := p.proposal(t, name)
		signature, err := access.Sign(p.signers["alice"], access.Statement(a))
		if err != nil {
			t.Fatal(err)
		}
		p.ask(t, "alice", "POST", wire{path: "/v1/approvals/" + a.ID + "/approve", body: admin.Signature{Signature: signature}})
		return wire{path: "/v1/approvals/" + a.ID + "/run", body: none}, func() bool { return p.state(t, a) != ledger.Approved }
	}},
})
