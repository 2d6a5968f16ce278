package adminhttp_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// rotationRows are the routes of rotations, for the matrix.
var rotationRows = []row{
	reading("GET /v1/rotations", access.RotationRead, "/v1/rotations"),
	{pattern: "GET /v1/rotations/{id}", operation: access.RotationRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/rotations/" + p.rotation(t, name, nil).ID}, nil
	}},
	{pattern: "GET /v1/rotations/{id}/journal", operation: access.RotationRead, reads: true, prepare: func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		return wire{path: "/v1/rotations/" + p.rotation(t, name, nil).ID + "/journal"}, nil
	}},
	changing("POST /v1/rotations", access.RotationPlan, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.endRotations(t)
		return wire{path: "/v1/rotations", body: admin.RotationSpec{Old: "root", New: name}}, func() bool {
			list, err := p.ra.Ledger.Rotations(t.Context())
			return err == nil && slices.ContainsFunc(list, func(r ledger.Rotation) bool { return r.New == name })
		}
	}),
	changing("POST /v1/rotations/{id}/sign", access.RotationSign, func(t *testing.T, p *people, caller, name string) (wire, func() bool) {
		r := p.rotation(t, name, nil)
		in := admin.RotationSign{Gate: string(rotation.Approved), Signature: []byte("nothing")}
		if key, ok := p.signers[caller]; ok {
			var err error
			if in.Signature, err = access.Sign(key, rotation.Statement(r, rotation.Approved)); err != nil {
				t.Fatal(err)
			}
		}
		return wire{path: "/v1/rotations/" + r.ID + "/sign", body: in}, func() bool { return len(p.now(t, r.ID).Signatures) > 0 }
	}),
	rotationRow("/run", access.RotationRun, admin.RotationRun{To: string(rotation.Approved)},
		func(t *testing.T, p *people, name string) ledger.Rotation {
			return p.signGate(t, p.rotation(t, name, nil), rotation.Approved, "alice", "bob")
		}, func(r ledger.Rotation) bool { return r.State == string(rotation.Approved) }),
	changing("POST /v1/rotations/{id}/bring", access.RotationBring, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		r := p.approvedRotation(t, name, func(s *rotation.Spec) { s.Elsewhere = true })
		in := admin.RotationBring{Certificates: string(pkitest.PEM("CERTIFICATE", rootElsewhere(t, p, r)))}
		return wire{path: "/v1/rotations/" + r.ID + "/bring", body: in}, func() bool { return p.hasAuthority(name) }
	}),
	rotationRow("/pause", access.RotationRollback, admin.RotationReason{Reason: "test"},
		func(t *testing.T, p *people, name string) ledger.Rotation { return p.rotation(t, name, nil) },
		func(r ledger.Rotation) bool { return r.Paused == "test" }),
	rotationRow("/resume", access.RotationRollback, none,
		func(t *testing.T, p *people, name string) ledger.Rotation {
			r, err := p.machine.Pause(t.Context(), p.rotation(t, name, nil).ID, "test", "test")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}, func(r ledger.Rotation) bool { return r.Paused == "" }),
	rotationRow("/rollback", access.RotationRollback, admin.RotationReason{Reason: "test"},
		func(t *testing.T, p *people, name string) ledger.Rotation { return p.rotation(t, name, nil) },
		func(r ledger.Rotation) bool { return r.State == string(rotation.RolledBack) }),
}

// rotationRow is something that is asked of a rotation.
func rotationRow(path string, operation access.Operation, body any, make func(*testing.T, *people, string) ledger.Rotation, done func(ledger.Rotation) bool) row {
	return changing("POST /v1/rotations/{id}"+path, operation, func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		r := make(t, p, name)
		return wire{path: "/v1/rotations/" + r.ID + path, body: body}, func() bool { return done(p.now(t, r.ID)) }
	})
}

// rootElsewhere is the DER of a root that a ceremony has made, valid for as long as the old one.
func rootElsewhere(t *testing.T, p *people, r ledger.Rotation) []byte {
	t.Helper()
	old, err := p.ra.Authority(r.Old)
	if err != nil {
		t.Fatal(err)
	}
	key, own := pkitest.NewKey(t), old.Certificate()
	end := r.At.Add(own.NotAfter.Sub(own.NotBefore))
	if least := own.NotAfter.Add(24 * time.Hour); end.Before(least) {
		end = least
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: own.Subject.CommonName}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
